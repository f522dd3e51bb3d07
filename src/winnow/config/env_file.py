"""Reads files of `NAME=value` lines: a stack's environment file, an experiment's secrets.

Nothing in a value is replaced, since passwords hold `$`; what Compose makes of `${OTHER}` is left to it. Who writes
such a file is `winnow.platforms.stack_env_file`.
"""

from __future__ import annotations

from io import StringIO

from dotenv import dotenv_values


def read_variables(text: str) -> dict[str, str]:
    """The variables of an environment file; where one is named twice, the last line counts."""
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}


def name_in(line: str) -> str | None:
    """The variable that a line sets, or None."""
    return next(iter(read_variables(line)), None)

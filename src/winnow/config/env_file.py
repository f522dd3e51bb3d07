"""Read files of `NAME=value` lines: a stack's environment file, an experiment's secrets.

Values are taken as they stand, since passwords hold `$`; replacing `${OTHER}` is left to Compose. The stack's file is
written by `winnow.platforms.docker.env_file`.
"""

from __future__ import annotations

from io import StringIO

from dotenv import dotenv_values


def read_variables(text: str) -> dict[str, str]:
    """The variables of an environment file; where one is named twice, the last line counts."""
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}

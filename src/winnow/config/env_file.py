"""Read files of `NAME=value` lines: a stack's environment file, an experiment's secrets.

Values are literal, because passwords contain `$`; only Compose replaces `${OTHER}`. `winnow.platforms.docker.env_file`
writes the stack's file.
"""

from __future__ import annotations

from io import StringIO

from dotenv import dotenv_values


def read_variables(text: str) -> dict[str, str]:
    """The variables of an environment file. The last line counts if a name is repeated."""
    found = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}

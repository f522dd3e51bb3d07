"""Reads files of `NAME=value` lines as Docker Compose reads them, as far as the settings of the stack go.

https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
What such a file says about other variables (`${OTHER}`) is left to Compose. Who writes one is `winnow.stack.env_file`.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"^\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*?)\s*$")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


def read_variables(text: str) -> dict[str, str]:
    """The variables of an environment file; where one is named twice, the last line counts."""
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is not None:
            found[match["name"]] = _unquoted(match["value"])
    return found


def name_in(line: str) -> str | None:
    """The variable that a line sets, or None."""
    match = _LINE.match(line)
    return None if match is None else match["name"]


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and (end := value.find(quote, 1)) > 0:
        return value[1:end]
    return _COMMENT.sub("", value).rstrip()

"""Values for people to read: quoted for a shell, and addresses without their passwords."""

from __future__ import annotations

import re
import shlex

_PASSWORD = re.compile(r"(://[^:/@\s]*):\S*@")
# To the last @, since a password that was not escaped may hold one.


def shown(value: str) -> str:
    """A variable's value, quoted, and an address in it without its password."""
    return shlex.quote(_PASSWORD.sub(r"\1:***@", value))

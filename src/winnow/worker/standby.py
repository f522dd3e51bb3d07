"""A supervisor that starts before its group is known, so that its imports do not delay the first fold."""

from __future__ import annotations

import os

import msgspec

STANDBY = "--standby"
"""The only argument of a waiting supervisor; a `StandbyStart` follows on the first inherited file descriptor."""
_FD = 3


class StandbyStart(msgspec.Struct, frozen=True):
    """What a waiting supervisor becomes: its arguments, its whole environment, and the log that it appends to."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: str


def await_start() -> tuple[str, ...] | None:
    """Wait for the group, take over its environment and log, and return its arguments; None if none comes."""
    with os.fdopen(_FD, "rb") as pipe:
        given = pipe.read()
    if not given:
        return None
    start = msgspec.json.decode(given, type=StandbyStart)
    os.environ.clear()
    os.environ.update(start.environment)
    log = os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    return start.arguments

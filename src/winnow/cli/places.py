"""Where a verb has looked, for people: who finds nothing should see whether it was looked for in the right place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class Placed(Protocol):
    """An executor or a deployer."""

    @property
    def place(self) -> str:
        """Where it looks, with its preposition."""


def any_of(asked: Iterable[Placed]) -> str:
    """`on this machine, on the Docker engine or in namespace …`."""
    return either([each.place for each in asked])


def either(places: Sequence[str]) -> str:
    """`on this machine, on the Docker engine or in namespace …`."""
    *others, last = places
    return f"{', '.join(others)} or {last}" if others else last

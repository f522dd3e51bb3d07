"""Where a verb has looked, for a person who may have expected another place."""

from __future__ import annotations

from collections.abc import Sequence


def either(places: Sequence[str]) -> str:
    """`on this machine, on the Docker engine or in namespace …`."""
    *others, last = places
    return f"{', '.join(others)} or {last}" if others else last

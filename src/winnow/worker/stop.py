"""Being asked to end (SIGTERM): noted by a signal handler, and seen by the work between two steps of it."""

from __future__ import annotations

from dataclasses import dataclass


class StopRequestedError(Exception):
    """This process was asked to stop: what it holds is handed back."""


@dataclass
class Stop:
    """Set by a signal handler, read between two messages."""

    is_requested: bool = False

    def request(self) -> None:
        """Have it end at the next message."""
        self.is_requested = True

    def check(self) -> None:
        """Raise StopRequestedError once it is requested."""
        if self.is_requested:
            raise StopRequestedError

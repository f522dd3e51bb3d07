"""Requests to end, by SIGTERM or by the removal of the group's folder, which the work checks between two steps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import WinnowError


class StopRequestedError(Exception):
    """This process was asked to stop: it gives its leases back."""


class FolderRemovedError(WinnowError):
    """The group's folder is gone, usually with the whole home, so there is nothing left to work for."""


@dataclass
class Stop:
    """Set by a signal handler, checked between two messages."""

    is_requested: bool = False
    _watched: tuple[Path, os.stat_result] | None = None

    def request(self) -> None:
        """End at the next check."""
        self.is_requested = True

    def watch(self, lock: Path) -> None:
        """End as well once the lock file that this group holds was removed or replaced."""
        self._watched = lock, lock.stat()

    def check(self) -> None:
        """Raise StopRequestedError once a stop is requested, and FolderRemovedError once the lock file is gone."""
        if self.is_requested:
            raise StopRequestedError
        if self._watched is None:
            return
        lock, held = self._watched
        try:
            is_held = os.path.samestat(lock.stat(), held)
        except FileNotFoundError:
            is_held = False
        if not is_held:
            self.is_requested = True
            raise FolderRemovedError(f"{lock.parent} was removed: this worker group ends")

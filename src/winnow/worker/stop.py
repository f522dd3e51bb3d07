"""Being asked to end, by SIGTERM or by the removal of the group's folder: noticed between two steps of the work."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import WinnowError


class StopRequestedError(Exception):
    """This process was asked to stop: what it holds is handed back."""


class FolderRemovedError(WinnowError):
    """The group's folder is gone, usually with the whole home: nothing is left to work for or to write to."""


@dataclass
class Stop:
    """Set by a signal handler, read between two messages."""

    is_requested: bool = False
    _lock: Path | None = None
    _held: os.stat_result | None = None

    def request(self) -> None:
        """Have it end at the next message."""
        self.is_requested = True

    def watch(self, lock: Path) -> None:
        """End as well once the lock file that this group holds was removed or replaced."""
        self._lock, self._held = lock, lock.stat()

    def check(self) -> None:
        """Raise StopRequestedError once it is requested, and FolderRemovedError once the lock file is gone."""
        if self.is_requested:
            raise StopRequestedError
        if self._lock is None or self._held is None:
            return
        try:
            is_held = os.path.samestat(self._lock.stat(), self._held)
        except FileNotFoundError:
            is_held = False
        if not is_held:
            self.is_requested = True
            raise FolderRemovedError(f"{self._lock.parent} was removed: this worker group ends")

"""Files of a deployment: the right to change it is a locked file, which the system unlocks when its process ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.file_lock import try_locked
from winnow.config.next_command import next_command
from winnow.platforms.deployer import OvertakenError
from winnow.platforms.rollout_driver import this_process

HELD_WITHIN_S = 1.0
"""Longer than `holder_of` looks."""


@dataclass(frozen=True)
class HeldFile:
    """See `Held`."""

    lock: Path
    name: str

    def renew(self) -> None:
        if not self.lock.is_file():
            raise OvertakenError(self.name)


@contextlib.contextmanager
def held_file(lock: Path, name: str) -> Iterator[HeldFile]:
    """See `Deployer.held`. The file says which process has the right.

    Raises:
        InputError: another process has it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with try_locked(lock, within_s=HELD_WITHIN_S) as is_held:
        if not is_held:
            raise InputError(
                f"deployment '{name}'",
                expected="no other process that changes it",
                found=f"{text_of(lock) or 'one'}, which does",
                remedy=f"Wait until it has ended (`{next_command('rollout-status', name=name)}`).",
            )
        lock.write_text(this_process(), encoding="utf-8")
        yield HeldFile(lock, name)


def holder_of(lock: Path) -> str:
    if not lock.is_file():
        return ""
    with try_locked(lock) as is_free:
        return "" if is_free else text_of(lock)


def text_of(file: Path) -> str:
    """The text of a file; empty where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ""

"""Locks between the processes of one machine, held on a file or on a folder.

The system releases a lock when its holder ends. The lock file stays, but holds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, is_shared: bool = False, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock on `path`; wait while another process holds it.

    Args:
        path: an existing folder, or a file, which is created with its folders if it is missing.
        is_shared: share the lock with other shared holders.
        on_wait: called once before waiting.

    Raises:
        OSError: the file cannot be created or opened.
    """
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as descriptor:
        if not _try(descriptor, is_shared):
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def try_locked(path: Path, *, is_shared: bool = False, within_s: float = 0.0) -> Iterator[bool]:
    """Yield whether the lock was free within that time; if so, hold it.

    Raises:
        OSError: the file cannot be created or opened; its folder is not created.
    """
    deadline = time.monotonic() + within_s
    with _opened(path) as descriptor:
        while not (is_held := _try(descriptor, is_shared)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield is_held


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int, is_shared: bool) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

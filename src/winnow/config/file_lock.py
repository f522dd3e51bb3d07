"""Locks between the processes of one machine, held on a file or on a folder.

The system releases a lock when its holder ends, however it ends. A lock file stays where it is and holds nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_S = 0.05


@contextlib.contextmanager
def locked(path: Path, *, is_shared: bool = False, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock on `path`, and wait for it as long as another process holds it.

    Args:
        path: an existing folder, or a file, which is made with its folders where it is missing.
        is_shared: share the lock with other shared holders.
        on_wait: called once before waiting.

    Raises:
        OSError: the file cannot be made or opened.
    """
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    with _opened(path) as descriptor:
        if not _try(descriptor, is_shared):
            on_wait()
            fcntl.flock(descriptor, _operation(is_shared))
        yield


@contextlib.contextmanager
def try_locked(path: Path, *, is_shared: bool = False, within_s: float = 0.0) -> Iterator[bool]:
    """Yield whether the lock was free within that time; if so, hold it.

    Raises:
        OSError: the file cannot be made or opened; its folder is not made.
    """
    deadline = time.monotonic() + within_s
    with _opened(path) as descriptor:
        while not (is_held := _try(descriptor, is_shared)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        yield is_held


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int, is_shared: bool) -> bool:
    try:
        fcntl.flock(descriptor, _operation(is_shared) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _operation(is_shared: bool) -> int:
    return fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX

"""The entry of a local deployment: one listening socket that its processes share and hand over.

See `winnow.serving.listening.Door` for what they do when told.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from winnow.serving.listening import DONE, GIVE

LONGEST_SOCKET_PATH = 100
ANSWERED_WITHIN_S = 2.0


@contextlib.contextmanager
def open_door(path: Path) -> Iterator[socket.socket]:
    """A listening Unix socket for a process to inherit."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door, _reachable(path) as short:
        door.bind(short)
        door.listen()
        yield door


def borrowed(door: Path) -> socket.socket | None:
    """The entry that a process keeps; its own socket where it was given none; None where it does not answer."""
    with contextlib.suppress(OSError), _connected(door) as connection:
        connection.sendall(GIVE)
        _, fds, _, _ = socket.recv_fds(connection, 16, 1)
        if fds:
            return socket.socket(fileno=fds[0])
    return None


def tell(door: Path, what: bytes, entry: socket.socket, *, waits: bool) -> bool:
    """Tell a process to take the entry or to hold it; returns whether it has.

    Args:
        waits: for its answer; else the process does so once it listens, and the answer is False.
    """
    with contextlib.suppress(OSError), _connected(door) as connection:
        socket.send_fds(connection, [what], [entry.fileno()])
        return waits and connection.recv(16) == DONE
    return False


@contextlib.contextmanager
def _connected(door: Path) -> Iterator[socket.socket]:
    with _reachable(door) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWERED_WITHIN_S)
        connection.connect(path)
        yield connection


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A path for a Unix socket that is short enough: systems allow about 100 bytes."""
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        link = Path(folder) / "run"
        link.symlink_to(path.parent)
        yield str(link / path.name)

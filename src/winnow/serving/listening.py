"""Where a process listens: an address of its own, or a socket that it inherits and shares with other processes.

A process passes an inherited socket on to clients of its door, an inherited Unix socket. So a new version takes over an
address that never stops listening.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listening:
    """Where a server listens.

    Attributes:
        port: 0 for a free one.
        fd: an inherited, bound socket instead of host and port.
        door_fd: an inherited, listening Unix socket that passes the other one to its clients.
        ready_file: written with pid, host, port and URL as JSON once the server is ready.
    """

    host: str = "127.0.0.1"
    port: int = 0
    fd: int | None = None
    door_fd: int | None = None
    ready_file: Path | None = None


class PortTakenError(Exception):
    """The address cannot be listened on."""


class Door:
    """Hands the listening socket to clients of a Unix socket; the mode of its folder decides who can connect."""

    def __init__(self, fd: int | None, listener: socket.socket) -> None:
        self._listener = listener
        self._socket = None if fd is None else socket.socket(fileno=fd)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer clients."""
        if self._socket is not None:
            self._socket.setblocking(False)
            loop.add_reader(self._socket, self._hand_over, self._socket)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop answering clients."""
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()

    def _hand_over(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            connection, _ = door.accept()
            with connection:
                socket.send_fds(connection, [b"listener"], [self._listener.fileno()])


def open_listener(listening: Listening) -> socket.socket:
    """The bound socket.

    Raises:
        PortTakenError: the address cannot be listened on.
    """
    if listening.fd is not None:
        return socket.socket(fileno=listening.fd)
    listener = socket.socket(socket.AF_INET6 if ":" in listening.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listening.host, listening.port))
    except OSError as error:
        listener.close()
        place = f"{listening.host}:{listening.port}"
        raise PortTakenError(f"{place}: expected a free port, found {error.strerror}. Use --port 0 for one.") from error
    listener.set_inheritable(True)
    return listener

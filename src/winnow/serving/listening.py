"""Where a process listens: an address of its own, and the entry of a deployment, which processes share and hand over.

On one machine a deployment's address is one listening socket, the *entry*. It never closes: processes pass it on over
their doors, Unix sockets, and any number of them may accept connections from it at a time. So requests move from one
revision to another without a moment in which nothing listens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from winnow.config.atomic_write import replace_bytes


@dataclass(frozen=True)
class Listening:
    """Where a server listens.

    Attributes:
        port: 0 for a free one.
        fd: an inherited, bound socket instead of host and port.
        door_fd: an inherited, listening Unix socket, over which the process is told what to accept; see `Door`.
        ready_file: written with pid, host, port and URL as JSON once the server is ready.
    """

    host: str = "127.0.0.1"
    port: int = 0
    fd: int | None = None
    door_fd: int | None = None
    ready_file: Path | None = None

    def report_ready(self, host: str, port: int, **further: int) -> None:
        """Write the ready file, if there is one."""
        if self.ready_file is not None:
            ready = {"pid": os.getpid(), "host": host, "port": port, "url": f"http://{host}:{port}", **further}
            replace_bytes(self.ready_file, msgspec.json.encode(ready))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `listening_in`, and `--settle-s`."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 finds a free one (default)")
    parser.add_argument("--fd", type=int, metavar="N", help="inherited, bound socket instead of host and port")
    parser.add_argument("--door-fd", type=int, metavar="N", help="inherited Unix socket that passes the other one on")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="written with pid, ports and URL when ready")
    parser.add_argument("--settle-s", type=float, metavar="S", help="seconds to go on answering after SIGTERM")


def listening_in(given: argparse.Namespace) -> Listening:
    """Where a process listens, by its arguments."""
    return Listening(given.host, given.port, given.fd, given.door_fd, given.ready_file)


class PortTakenError(Exception):
    """The address cannot be listened on."""


Enter = Callable[[socket.socket | None], Awaitable[None]]
"""Accepts connections from an entry instead of the one before; with None from none."""

TAKE, HOLD, GIVE = b"take", b"hold", b"give"
"""What a client asks of a door: to accept connections from the entry that it sends; to keep that entry, and to accept
none; to send the entry, or, from a process that was sent none, its own socket."""
DONE = b"done"
TOLD_WITHIN_S = 1.0


class Door:
    """Does what clients of a Unix socket ask, one after another; the mode of its folder decides who can connect."""

    def __init__(self, fd: int | None, listener: socket.socket) -> None:
        self._entry = listener
        self._is_taken = False
        self._door = None if fd is None else socket.socket(fileno=fd)
        self._task: asyncio.Task[None] | None = None

    def open(self, loop: asyncio.AbstractEventLoop, enter: Enter) -> None:
        """Begin to answer clients; those that came before wait since then."""
        if self._door is not None:
            self._door.setblocking(False)
            self._task = loop.create_task(self._answer_all(loop, self._door, enter))

    def close(self) -> None:
        """Stop answering clients."""
        if self._task is not None:
            self._task.cancel()

    async def _answer_all(self, loop: asyncio.AbstractEventLoop, door: socket.socket, enter: Enter) -> None:
        with door:
            while True:
                client, _ = await loop.sock_accept(door)
                with client, contextlib.suppress(OSError):  # it has gone
                    client.settimeout(TOLD_WITHIN_S)
                    await self._answer(client, enter)

    async def _answer(self, client: socket.socket, enter: Enter) -> None:
        asked, fds, _, _ = socket.recv_fds(client, 16, 1)
        if asked == GIVE:
            socket.send_fds(client, [DONE], [self._entry.fileno()])
            return
        if asked not in (TAKE, HOLD) or not fds:
            return
        entry = socket.socket(fileno=fds[0])
        is_other = entry.getsockname() != self._entry.getsockname()
        if asked == HOLD or is_other or not self._is_taken:
            await enter(entry.dup() if asked == TAKE else None)
        self._entry, self._is_taken = entry, asked == TAKE
        client.sendall(DONE)


def open_listener(listening: Listening) -> socket.socket:
    """The bound socket. Raises PortTakenError where the address cannot be listened on."""
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

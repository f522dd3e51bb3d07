"""Stops a server without losing a request.

On SIGTERM uvicorn alone would close its listening socket at once, while load balancers still send requests there. So a
`DrainingServer` first stops being ready and keeps answering for `settle_s`, asking clients to close their connections;
then it closes the socket, lets requests end for at most the configured time, and exits. An idle connection is kept for
`LINGER_S`: its request may be on the way.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from winnow.serving.connections import Connections
from winnow.serving.listening import Door

log = logging.getLogger("winnow.serving")

LINGER_S = 1.0
KEEP_ALIVE_S = 75
"""Longer than the 60 s after which load balancers commonly close idle connections: they must close first."""


def config_of(connections: Connections, drain_s: float, *, has_date: bool = True) -> uvicorn.Config:
    """uvicorn's configuration for the application of `connections`.

    Args:
        drain_s: how long requests may take to end, once the socket is closed.
        has_date: answers get the header `date`.
    """
    return uvicorn.Config(
        connections.app,  # type: ignore[arg-type]  # uvicorn has types of its own for ASGI
        http=connections.protocol,  # type: ignore[arg-type]  # it is called and nothing else
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=has_date,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(int(drain_s), 1),
    )


class DrainingServer(uvicorn.Server):
    """uvicorn with a stop in steps: not ready, not accepting, ended. A second signal skips to the last."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        settle_s: float,
        on_listening: Callable[[], None],
        door: Door,
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._settle_s = settle_s
        self._on_listening = on_listening
        self._door = door
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self._entered: asyncio.Server | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then report it."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._door.open(self._loop, self._enter)
        self._connections.sweep_repeatedly(self._loop)
        self._on_listening()

    async def _enter(self, entry: socket.socket | None) -> None:
        """Accept connections from an entry instead of the one before. Those of that one end after their next answer."""
        assert self._loop is not None
        left, self._entered = self._entered, None
        if entry is not None:
            accept = functools.partial(self._connections.protocol, self.config, self.server_state, {}, entry=entry)
            self._entered = await self._loop.create_server(accept, sock=entry, backlog=self.config.backlog)
            self.servers.append(self._entered)
        self._connections.entry = entry
        if left is not None:
            left.close()
            self.servers.remove(left)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; called by the interpreter between two instructions of the main thread."""
        if self._loop is None or self._is_stopping:
            self.should_exit = True
            self.force_exit = self.force_exit or sig == signal.SIGINT
            return
        self._is_stopping = True
        self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        assert self._loop is not None
        log.info("stopping: not ready, answering for another %.3g s", self._settle_s)
        self._connections.app.start_draining()
        self._loop.call_later(self._settle_s, self._close)

    def _close(self) -> None:
        """Stop accepting, and give connections that were just accepted the time to send their request.

        uvicorn would close them unread, since it treats a connection without a request as idle.
        """
        assert self._loop is not None
        self._door.close()
        for server in self.servers:
            server.close()
        self._linger(self._loop.time() + LINGER_S)

    def _linger(self, until: float) -> None:
        assert self._loop is not None
        if self.server_state.connections and self._loop.time() < until:
            self._loop.call_later(0.02, self._linger, until)
        else:
            self.should_exit = True

"""One server process: it loads and checks the model, listens, and stops without losing a request.

The model is checked against its reference rows before the process listens. On SIGTERM uvicorn alone would close its
listening socket at once, while load balancers still send requests there. So this server first stops being ready and
keeps answering for `settle_s`, asking clients to close their connections; then it closes the socket, lets requests end
for at most `drain_s`, and exits with 0. An idle connection is kept for `LINGER_S`: its request may be on the way.

Several processes may share one listening socket: it is inherited as a file descriptor, and a process passes it on to
clients of its door, an inherited Unix socket. So a new version takes over an address that never stops listening.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn

from winnow.config.atomic_write import replace_bytes
from winnow.serving import codec
from winnow.serving.app import App
from winnow.serving.connections import Connections, most_connections
from winnow.serving.examples import examples_of
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor, WrongModelError
from winnow.serving.problems import ProblemError
from winnow.serving.request import ASGIApp
from winnow.serving.settings import ServingSettings

log = logging.getLogger("winnow.serving")

LINGER_S = 1.0
KEEP_ALIVE_S = 75
"""Longer than the 60 s after which load balancers commonly close idle connections: they must close first."""


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


def run(bundle: Path, version: str | None, listening: Listening, settings: ServingSettings) -> None:
    """Serve a bundle until SIGTERM or SIGINT.

    Raises:
        WrongModelError: the bundle cannot be served; nothing was listened on.
        PortTakenError: the address cannot be listened on.
    """
    started = time.perf_counter()
    signal.signal(signal.SIGTERM, _exit_before_start)
    app = load_app(bundle, version, settings)
    gc.collect()
    gc.freeze()  # collections skip objects that live as long as the process
    listener = _listener(listening)
    host, port = listener.getsockname()[:2]
    url = f"http://{host}:{port}"

    def on_listening() -> None:
        log.info("serving at %s, ready after %.2f s", url, time.perf_counter() - started)
        if listening.ready_file is not None:
            ready = {"pid": os.getpid(), "host": host, "port": port, "url": url}
            replace_bytes(listening.ready_file, msgspec.json.encode(ready))

    connections = Connections(app, settings, most_connections(settings.max_connections))
    config = uvicorn.Config(
        app,
        http=connections.protocol,  # type: ignore[arg-type]  # it is called and nothing else
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(int(settings.drain_s), 1),
    )
    door = _Door(listening.door_fd, listener)
    DrainingServer(config, connections, settings.settle_s, on_listening, door).run([listener])
    app.close()


def load_app(bundle: Path, version: str | None, settings: ServingSettings) -> App:
    """The application for a bundle, after it has answered the bundle's input example.

    Raises:
        WrongModelError: the bundle cannot be served.
    """
    predictor = Predictor(bundle, version, settings.max_rows)
    predict = PredictCodec(predictor.signature)
    try:
        request = predict.decode(predictor.example, codec.JSON)
        predict.encode(request, predictor.outputs(request.matrix), "warm-up")
    except ProblemError as error:
        raise WrongModelError(f"{bundle}: the input example is refused: {error.detail}") from error

    def make_admin() -> ASGIApp:
        from winnow.serving.admin import make_admin as make

        examples = examples_of(predictor.signature, request.matrix)
        needs_key = settings.api_key is not None
        return make(predictor.manifest, predictor.signature, predictor.example, examples, needs_key=needs_key)

    return App(predictor, settings, make_admin)


class DrainingServer(uvicorn.Server):
    """uvicorn with a stop in steps: not ready, not accepting, ended. A second signal skips to the last."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        settle_s: float,
        on_listening: Callable[[], None],
        door: _Door,
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._settle_s = settle_s
        self._on_listening = on_listening
        self._door = door
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then report it."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._door.open(self._loop)
        self._connections.sweep_repeatedly(self._loop)
        self._on_listening()

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
        self._door.close(self._loop)
        for server in self.servers:
            server.close()
        self._linger(self._loop.time() + LINGER_S)

    def _linger(self, until: float) -> None:
        assert self._loop is not None
        if self.server_state.connections and self._loop.time() < until:
            self._loop.call_later(0.02, self._linger, until)
        else:
            self.should_exit = True


class _Door:
    """Hands the listening socket to clients of a Unix socket; the mode of its folder decides who can connect."""

    def __init__(self, fd: int | None, listener: socket.socket) -> None:
        self._listener = listener
        self._socket = None if fd is None else socket.socket(fileno=fd)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket is not None:
            self._socket.setblocking(False)
            loop.add_reader(self._socket, self._hand_over, self._socket)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._socket is not None:
            loop.remove_reader(self._socket)
            self._socket.close()

    def _hand_over(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            connection, _ = door.accept()
            with connection:
                socket.send_fds(connection, [b"listener"], [self._listener.fileno()])


def _listener(listening: Listening) -> socket.socket:
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


def _exit_before_start(_signal: int, _frame: FrameType | None) -> None:
    """Stop while loading: as process 1 of a container nothing happens by itself."""
    sys.exit(0)

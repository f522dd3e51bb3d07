"""Replicas that misbehave as told, and a router before them: real sockets in one process."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import uvicorn
from uvicorn.server import ServerState

from winnow.routing import Route, RouterSettings
from winnow.serving.connections import Connections
from winnow.serving.router.app import RouterApp
from winnow.serving.settings import ServingSettings

BIG = 3 * 2**20


class Replica:
    """A server of predictions in a few lines.

    Attributes:
        behaviour: answer, error, busy, reset, hang, slow, half, big, half-big, chunked, until-close, leave (closes the
            connection after the answer without a word), interim, nonsense, deaf (not ready).
        script: behaviours of the next requests, before `behaviour`.
        slow_s: for `slow`: how long an answer takes.
        seen: the requests as they came, without those for readiness.
    """

    def __init__(self, label: str, behaviour: str = "answer") -> None:
        self.label = label
        self.behaviour = behaviour
        self.script: list[str] = []
        self.slow_s = 0.0
        self.seen: list[bytes] = []
        self.address = ""
        self.writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """As SIGKILL does: nothing listens any more, and connections are reset."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self.writers):
            writer.transport.abort()

    def next_behaviour(self) -> str:
        return self.script.pop(0) if self.script else self.behaviour

    def body(self, asked: bytes = b"") -> bytes:
        answer = {"predictions": [self.label], "probabilities": [{"a": 0.25, "b": 0.75}], "asked": asked.decode()}
        return msgspec.json.encode(answer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
                )
                body = await reader.readexactly(length)
                if head.startswith(b"GET /readyz"):
                    named = b"x-winnow-model: cells/3 sha256:0\r\n"
                    writer.write(_whole(b"{}", 503 if self.behaviour == "deaf" else 200, more=named))
                    continue
                self.seen.append(head + body)
                await self._answer(head, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, asked: bytes, writer: asyncio.StreamWriter) -> None:
        behaviour, body = self.next_behaviour(), self.body(asked)
        if behaviour == "error":
            writer.write(_whole(b'{"status": 500}', 500))
        elif behaviour == "busy":
            writer.write(_whole(b'{"status": 429}', 429))
        elif behaviour == "reset":
            writer.transport.abort()
        elif behaviour == "hang":
            await asyncio.sleep(3600)
        elif behaviour in ("half", "half-big"):
            whole = _whole(body if behaviour == "half" else b"x" * BIG)
            writer.write(whole[:-10])
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.transport.abort()
        elif behaviour == "big":
            writer.write(_whole(b"x" * BIG))
            await writer.drain()
        elif behaviour == "chunked":
            pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:7], body[7:]))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
        elif behaviour == "until-close":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            writer.close()
        elif behaviour == "nonsense":
            writer.write(b"\x00\x01\x02 no http\r\n\r\n")
        elif behaviour == "interim":
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + _whole(body))
        else:
            if behaviour == "slow":
                await asyncio.sleep(self.slow_s)
            writer.write(_whole(b"" if head.startswith(b"HEAD") else body, length=len(body)))
            if behaviour == "leave":
                await writer.drain()
                writer.close()


def _whole(body: bytes, status: int = 200, length: int | None = None, more: bytes = b"") -> bytes:
    size = len(body) if length is None else length
    head = b"HTTP/1.1 %d Some\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, more, size) + body


class Site:
    """A router with its replicas, and a client of it."""

    def __init__(self, app: RouterApp, port: int, client: httpx.AsyncClient) -> None:
        self.app = app
        self.port = port
        self.client = client

    async def predict(self, rows: Any = ((1, 2),), **headers: str) -> httpx.Response:
        return await self.client.post("/predict", json={"rows": rows}, headers=headers)


@asynccontextmanager
async def routed(
    stable: list[Replica],
    candidate: list[Replica],
    limits: ServingSettings | None = None,
    *,
    longest_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    **route: Any,
) -> AsyncIterator[Site]:
    """A router before replicas; all of them run as long as the context."""
    limits = limits or ServingSettings()
    for replica in (*stable, *candidate):
        await replica.start()
    addresses = (tuple(each.address for each in stable), tuple(each.address for each in candidate))
    settings = RouterSettings("cells", Route(serial=7, stable=1, candidate=2, **route), *addresses, is_classifier=True)
    app = RouterApp(settings, limits, clock)
    connections = Connections(app, limits, limits.max_connections, longest_s=longest_s)
    config = uvicorn.Config(
        app,
        http=connections.protocol,  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        lifespan="off",
        date_header=False,
        server_header=False,
    )
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    listener = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(lambda: connections.protocol(config, state, {}, loop), sock=listener)
    connections.sweep_repeatedly(loop)
    port = listener.getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            yield Site(app, port, client)
    finally:
        server.close()
        app.close()
        for replica in (*stable, *candidate):
            replica.stop()

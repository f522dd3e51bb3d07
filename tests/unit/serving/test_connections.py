"""What a client can hold of a server, on real sockets in one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import uvicorn
from uvicorn.server import ServerState

from winnow.serving.app import App
from winnow.serving.connections import Connections
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings

ROW = b'{"rows": [[1, 2, 3]]}'
MANY_ROWS = msgspec.json.encode({"rows": [[1.25, 2.5, 3.75]] * 20_000})
BUFFER_BYTES = 65_536


@dataclass(frozen=True)
class Answer:
    status: int
    head: bytes
    body: bytes

    @property
    def kind(self) -> str:
        return str(msgspec.json.decode(self.body)["type"])


class Client:
    """One connection, on which bytes are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> Answer:
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)
        lines = dict(line.split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
        body = await self._reader.readexactly(int(lines[b"content-length"]))
        return Answer(int(head.split(b" ")[1]), head, body)

    async def rest(self) -> bytes:
        """What still comes until the server closes the connection."""
        try:
            return await asyncio.wait_for(self._reader.read(), 10)
        except ConnectionResetError:
            return b""


Test = Callable[[Callable[[], Awaitable[Client]], App], Awaitable[None]]


@pytest.fixture
def bundle(bundle_folder: Path) -> Iterator[Path]:
    return bundle_folder / "classification"


def _run(test: Test, bundle: Path, settings: ServingSettings, receive_bytes: int | None = None) -> None:
    asyncio.run(asyncio.wait_for(_serve(test, bundle, settings, receive_bytes), 30))


async def _serve(test: Test, bundle: Path, settings: ServingSettings, receive_bytes: int | None) -> None:
    app = load_app(bundle, "3", settings)
    connections = Connections(app, settings, settings.max_connections)
    config = uvicorn.Config(app, http=connections.protocol, ws="none", log_config=None, lifespan="off")  # type: ignore[arg-type]
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    # The arguments are named, as uvicorn names them.
    given = {"config": config, "server_state": state, "app_state": {}, "_loop": loop}
    server = await loop.create_server(lambda: connections.protocol(**given), sock=listener)
    connections.sweep_repeatedly(loop)
    clients: list[Client] = []

    async def connect() -> Client:
        sender = socket.socket()
        if receive_bytes is not None:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sender.setblocking(False)
        await loop.sock_connect(sender, listener.getsockname())
        limit = receive_bytes if receive_bytes is not None else 2**20
        clients.append(Client(*await asyncio.open_connection(sock=sender, limit=limit)))
        return clients[-1]

    try:
        await test(connect, app)
    finally:
        for client in clients:
            client.writer.close()
        server.close()
        app.close()


def _post(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return (
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size
        + body
    )


READY = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /readyz HTTP/1.1\r\nX: ", *[b"a" * 1_000] * 4],
        [b"GET /readyz HTTP/1.1\r\n", *[b"X: %s\r\n" % (b"a" * 400)] * 10],
        [b"GET /readyz?%s HTTP/1.1\r\n\r\n" % (b"a" * 4_000)],
        [b"GET /readyz HTTP/1.1\r\nX: %s\r\n\r\n" % (b"a" * 4_000)],
    ],
)
def test_a_head_above_the_limit_is_refused(bundle: Path, pieces: list[bytes]) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        client = await connect()
        for piece in pieces:
            await client.send(piece)
            await asyncio.sleep(0)
        answer = await client.answer()
        assert (answer.status, answer.kind) == (431, "/docs#head-too-large")
        assert b"x-request-id: " in answer.head
        assert b"connection: close" in answer.head
        assert await client.rest() == b""

    _run(test, bundle, ServingSettings(max_header_bytes=2_000))


def test_bodies_may_be_larger_than_heads(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        client = await connect()
        for _ in range(2):
            await client.send(_post(MANY_ROWS))
            assert (await client.answer()).status == 200

    _run(test, bundle, ServingSettings(max_header_bytes=2_000))


def test_what_is_no_http_is_a_problem(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        client = await connect()
        await client.send(b"\x16\x03\x01 hello\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.kind) == (400, "/docs#malformed-request")

    _run(test, bundle, ServingSettings())


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"GET /readyz HTTP/1.1\r\nX: ", "Expected the rest of the request's head, which did not come."),
        (_post(b"[", 100), "Expected the rest of the request's body, which did not come."),
    ],
)
def test_a_request_that_does_not_become_whole_is_answered_and_its_connection_closed(
    bundle: Path, sent: bytes, detail: str
) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        client = await connect()
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, msgspec.json.decode(answer.body)["detail"]) == (408, detail)
        assert await client.rest() == b""
        route = "other" if b"GET" in sent else "/predict"
        assert f'winnow_requests_total{{route="{route}",status="408"}} 1.0' in app.metrics.exposition().decode()

    _run(test, bundle, ServingSettings(header_timeout_s=0.2, body_timeout_s=0.2))


def test_a_connection_on_which_nothing_comes_is_closed(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        assert await (await connect()).rest() == b""

    _run(test, bundle, ServingSettings(header_timeout_s=0.2))


def test_a_kept_connection_outlives_the_time_for_a_head(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        client = await connect()
        for _ in range(2):
            await client.send(READY)
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.4)

    _run(test, bundle, ServingSettings(header_timeout_s=0.2))


def test_slow_clients_keep_neither_health_checks_nor_others_out(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        slow = [await connect() for _ in range(4)]
        for client in slow:
            await client.send(b"GET /readyz HTTP/1.1\r\nX: ")
        assert (await _ask(connect, READY)).status == 200
        assert (await slow[0].answer()).status == 408  # the slowest made room
        busy = await _ask(connect, _post(ROW))
        assert (busy.status, b"retry-after: 1" in busy.head) in ((200, False), (429, True))
        await asyncio.sleep(1.1)
        assert (await _ask(connect, _post(ROW))).status == 200

    _run(test, bundle, ServingSettings(max_connections=2))


def test_where_every_connection_is_in_use_a_further_one_gets_health_alone(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        for _ in range(2):
            await (await connect()).send(_post(b"[", 100))
        await asyncio.sleep(0.05)
        ready, predicted = await _ask(connect, READY), await _ask(connect, _post(ROW))
        assert (ready.status, b"connection: close" in ready.head) == (200, True)
        assert (predicted.status, predicted.kind) == (429, "/docs#too-busy")
        assert b"retry-after: 1" in predicted.head

    _run(test, bundle, ServingSettings(max_connections=2))


def test_the_connection_that_has_been_idle_for_longest_makes_room(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        kept = [await connect() for _ in range(2)]
        for client in kept:
            await client.send(_post(ROW))
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.01)
        assert (await _ask(connect, _post(ROW))).status == 200
        assert await kept[0].rest() == b""
        await kept[1].send(_post(ROW))
        assert (await kept[1].answer()).status == 200

    _run(test, bundle, ServingSettings(max_connections=2))


def test_bodies_beyond_those_in_flight_are_refused_for_the_moment(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        first = await connect()
        await first.send(_post(MANY_ROWS[:-1], len(MANY_ROWS)))
        while app.budget.held < len(MANY_ROWS) - 1:
            await asyncio.sleep(0.01)
        busy = await _ask(connect, _post(MANY_ROWS))
        assert (busy.status, busy.kind, b"retry-after: 1" in busy.head) == (429, "/docs#too-busy", True)
        assert (await _ask(connect, _post(ROW))).status == 200
        await first.send(MANY_ROWS[-1:])
        assert (await first.answer()).status == 200
        assert app.budget.held == 0
        assert (await _ask(connect, _post(MANY_ROWS))).status == 200

    _run(test, bundle, ServingSettings(max_inflight_bytes=len(MANY_ROWS) + 1000))


@pytest.mark.parametrize("body", [ROW, msgspec.json.encode({"rows": [[1.25, 2.5, 3.75]] * 6_000}), MANY_ROWS])
def test_a_client_that_has_closed_its_sending_half_gets_its_answer(bundle: Path, body: bytes) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        for _ in range(5):
            client = await connect()
            await client.send(_post(body))
            client.writer.write_eof()
            assert (await client.answer()).status == 200
            assert await client.rest() == b""

    _run(test, bundle, ServingSettings())


def test_an_answer_that_is_not_read_is_given_up(bundle: Path) -> None:
    async def test(connect: Callable[[], Awaitable[Client]], app: App) -> None:
        client = await connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(_post(MANY_ROWS))
        while app.budget.held == 0 or app.metrics.in_flight._value.get():
            await asyncio.sleep(0.01)
        while app.budget.held > 0:
            await asyncio.sleep(0.01)

    _run(test, bundle, ServingSettings(body_timeout_s=0.3), receive_bytes=4096)


async def _ask(connect: Callable[[], Awaitable[Client]], request: bytes) -> Answer:
    client = await connect()
    await client.send(request)
    return await client.answer()

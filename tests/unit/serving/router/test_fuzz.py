"""Bytes in any pieces, and replicas that fail in any order."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.serving.router.stubs import Replica, routed
from winnow.serving.router.upstream import Answer, Connection, Request

BODIES = st.binary(max_size=300)
WORKING = st.sampled_from(["answer", "chunked", "until-close", "leave", "interim"])
FAILING = st.sampled_from(["error", "busy", "reset", "half", "nonsense"])


class Transport(asyncio.Transport):
    """Takes what is written to it."""

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def _framed(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return b"HTTP/1.1 200 OK\r\nx-a: b\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    if framing == "chunked":
        pieces = b"".join(b"1\r\n%c\r\n" % each for each in body)
        head = b"HTTP/1.1 200 OK\r\nx-a: b\r\nTransfer-Encoding: chunked\r\nConnection: x-b\r\nX-B: 1\r\n\r\n"
        return head + pieces + b"0\r\nx-trailer: 1\r\n\r\n"
    return b"HTTP/1.1 103 Early\r\nx-early: 1\r\n\r\nHTTP/1.0 200 OK\r\nx-a: b\r\n\r\n" + body


def _pieces(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    return [whole[start:end] for start, end in itertools.pairwise(places)]


@given(BODIES, st.sampled_from(["length", "chunked", "close"]), st.lists(st.integers(0, 400), max_size=20))
def test_an_answer_is_the_same_in_any_pieces(body: bytes, framing: str, cuts: list[int]) -> None:
    async def test() -> Answer:
        idle: list[Connection] = []
        connection = Connection(asyncio.get_running_loop(), idle)
        connection.connection_made(Transport())
        asking = asyncio.ensure_future(connection.ask(Request(b"GET / HTTP/1.1\r\n\r\n"), is_head=False))
        await asyncio.sleep(0)
        for piece in _pieces(_framed(body, framing), cuts):
            connection.data_received(piece)
        if framing == "close":
            connection.connection_lost(None)
        assert idle == ([] if framing == "close" else [connection])
        return await asking

    answer = asyncio.run(test())
    headers = [each for each in answer.headers if each[0] != b"content-length"]
    assert (answer.status, headers, answer.body, answer.rest) == (200, [(b"x-a", b"b")], body, None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    candidate=st.lists(WORKING | FAILING, max_size=8),
    stable=st.lists(WORKING, max_size=8),
    bodies=st.lists(st.text("abc", max_size=40), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 1_000), max_size=12),
    weight=st.sampled_from([0.0, 0.5, 1.0]),
    mirror=st.sampled_from([0.0, 1.0]),
)
def test_every_request_gets_its_own_answer(
    candidate: list[str], stable: list[str], bodies: list[str], cuts: list[int], weight: float, mirror: float
) -> None:
    async def test() -> None:
        old, new = Replica("old"), Replica("new")
        old.script, new.script = stable, candidate
        async with routed([old], [new], weight=weight, mirror=mirror) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            whole = b"".join(_request(body) for body in bodies)
            for piece in _pieces(whole, cuts):
                writer.write(piece)
                await asyncio.sleep(0)
            found = [await _answer(reader) for _ in bodies]
            writer.close()
        assert [(status, answer["asked"]) for status, answer in found] == [(200, body) for body in bodies]

    uvloop.run(asyncio.wait_for(test(), 30))


def _request(body: str) -> bytes:
    if len(body) % 2:
        pieces = b"".join(b"1\r\n%c\r\n" % each for each in body.encode())
        return b"POST /predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%s0\r\n\r\n" % pieces
    return b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body.encode())


async def _answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    return int(head.split(b" ")[1]), msgspec.json.decode(await reader.readexactly(length))

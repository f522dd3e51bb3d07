from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

from winnow.serving.router.upstream import Request, Upstream, UpstreamError

GET = Request(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


def test_names_that_are_not_found_for_long_hold_up_no_other_and_are_looked_up_once_at_a_time() -> None:
    over, asked = threading.Event(), list[str]()

    def look_up(host: str, *rest: Any) -> list[Any]:
        asked.append(host)
        if host == "silent":
            over.wait(10)
        return socket.getaddrinfo("127.0.0.1", *rest)

    async def statuses() -> list[int]:
        async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            silent, other = (Upstream((f"{name}:{port}",), look_up) for name in ("silent", "other"))
            waiting = [asyncio.create_task(silent.ask(GET, 0.5)) for _ in range(40)]
            await asyncio.sleep(0)
            found = [(await other.ask(GET, 0.4)).status for _ in range(3)]
            assert all(
                isinstance(each, UpstreamError) for each in await asyncio.gather(*waiting, return_exceptions=True)
            )
            over.set()
            return [*found, (await silent.ask(GET, 5)).status]

    assert asyncio.run(statuses()) == [200, 200, 200, 200]
    assert asked.count("silent") <= 2


def test_a_host_whose_name_is_silent_later_is_asked_where_it_was() -> None:
    over, asked = threading.Event(), list[str]()

    def look_up(host: str, *rest: Any) -> list[Any]:
        asked.append(host)
        if len(asked) > 1:
            over.wait(10)
        return socket.getaddrinfo("127.0.0.1", *rest)

    async def statuses() -> list[int]:
        async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
            upstream = Upstream((f"replica:{server.sockets[0].getsockname()[1]}",), look_up)
            found = [(await upstream.ask(GET, 5)).status for _ in range(3)]
            over.set()
            return found

    assert asyncio.run(statuses()) == [200, 200, 200]
    assert len(asked) == 2

"""The replicas of one revision: kept connections, and one request's way to an answer on one of them.

An answer is held back until it is whole, or larger than `MOST_HELD_BYTES`. So a replica that dies in the middle of it
costs the client nothing: the request, a prediction, is sent again.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httptools

MOST_HELD_BYTES = 2**20
LONGEST_S = 60.0
"""Age from which a connection takes no further request: a service before the replicas then chooses another one. Less
than the server keeps idle connections."""
CONNECT_S = 1.0
LOOK_UP_S = 0.25
AVOIDED_S = 1.0
"""How long an address that took no connection is left out while there are others."""
MOST_TRIES = 4
MOST_SENT = 2
"""How often a request is tried, and on how many new connections sent."""

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
Headers = list[tuple[bytes, bytes]]
LookUp = Callable[..., list[Any]]


class UpstreamError(Exception):
    """A revision gave no answer. `is_late`: it might have, given more time."""

    def __init__(self, detail: str, *, is_late: bool = False) -> None:
        super().__init__(detail)
        self.is_late = is_late


class Request(NamedTuple):
    """A whole request in HTTP/1.1: everything up to the empty line, and the body."""

    head: bytes
    body: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.head) + len(self.body)


class Answer(NamedTuple):
    """A revision's answer.

    Attributes:
        headers: without those of the connection; names in lower case.
        body: all of it, or where `rest` is given its beginning.
        rest: sends the remainder; to be read to its end or closed.
    """

    status: int
    headers: Headers
    body: bytes
    rest: Connection | None = None


class Upstream:
    """All replicas of a revision, in turn.

    Args:
        addresses: `HOST:PORT` of replicas, or of services that choose one for each connection.
        look_up: as `socket.getaddrinfo`.
    """

    def __init__(self, addresses: Sequence[str], look_up: LookUp = socket.getaddrinfo) -> None:
        self._addresses = tuple(_Address(each, look_up) for each in addresses)
        self._turn = 0

    async def ask(self, request: Request, timeout_s: float, *, is_head: bool = False) -> Answer:
        """The answer to a request.

        A connection that closes before the answer is whole is no answer: the replica may have closed it while it was
        idle, or have died. The request goes to another one. Raises UpstreamError where there was none in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._try(request, is_head)
        except TimeoutError:
            raise UpstreamError(f"no answer within {timeout_s:.3g} s", is_late=True) from None

    def close(self) -> None:
        """Close idle connections."""
        for address in self._addresses:
            for connection in tuple(address.idle):
                connection.close()

    async def _try(self, request: Request, is_head: bool) -> Answer:
        now = asyncio.get_running_loop().time()
        lost, sent = UpstreamError("no address"), 0
        for count, address in zip(range(MOST_TRIES), self._in_turn(now), strict=False):
            connection = address.take(now) if count == 0 else None
            try:
                if connection is None:
                    connection = await address.connect()
                    sent += 1
                return await connection.ask(request, is_head)
            except UpstreamError as error:
                lost = error
                if sent >= MOST_SENT:
                    break
        raise lost

    def _in_turn(self, now: float) -> Iterator[_Address]:
        """The addresses again and again, each request beginning with another one."""
        self._turn = (self._turn + 1) % len(self._addresses)
        order = self._addresses[self._turn :] + self._addresses[: self._turn]
        while True:
            yield from [each for each in order if each.avoided_until <= now] or order


class _Address:
    """One address with its idle connections, the last used at the end.

    Its name is looked up in a thread of its own: that of a container that is gone may be silent for seconds, and
    few such lookups would keep the event loop from finding any other name.
    """

    def __init__(self, text: str, look_up: LookUp) -> None:
        host, _, port = text.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._look_up = look_up
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lookup")
        self._lookup: asyncio.Future[list[Any]] | None = None
        self._number = ""
        self.idle: list[Connection] = []
        self.avoided_until = 0.0

    def take(self, now: float) -> Connection | None:
        """An idle connection; None where there is none that is open and young."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_usable(now):
                return connection
            connection.close()
        return None

    async def connect(self) -> Connection:
        """A new connection. Raises UpstreamError where nothing listens there, or it does not answer."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                host = await self._found(loop)
                _, connection = await loop.create_connection(lambda: Connection(loop, self.idle), host, self._port)
        except OSError as error:  # a TimeoutError is one, too
            self.avoided_until = loop.time() + AVOIDED_S
            raise UpstreamError(f"no connection ({type(error).__name__})") from error
        return connection

    async def _found(self, loop: asyncio.AbstractEventLoop) -> str:
        """The number of the host; all who ask at a time share one lookup. Raises OSError where there is none.

        A lookup that takes longer than `LOOK_UP_S` is not waited for where an earlier one has found a number.
        """
        if self._lookup is None or self._lookup.done():
            self._lookup = loop.run_in_executor(
                self._thread, lambda: self._look_up(self._host, self._port, 0, socket.SOCK_STREAM)
            )
            self._lookup.add_done_callback(asyncio.Future.exception)  # nothing may wait for it any more
        lookup = self._lookup
        await asyncio.wait((lookup,), timeout=LOOK_UP_S if self._number else None)
        if lookup.done():
            self._number = str(lookup.result()[0][4][0])
        return self._number


class Connection(asyncio.Protocol):
    """One connection to a replica, for one request at a time.

    Args:
        idle: where it puts itself when it can take another request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: list[Connection]) -> None:
        self._loop = loop
        self._idle = idle
        self._born = loop.time()
        self._transport: asyncio.Transport | None = None
        self._is_lost = False
        self._parser = httptools.HttpResponseParser(self)
        self._begin(None, is_head=False)

    def _begin(self, waiter: asyncio.Future[Answer] | None, *, is_head: bool) -> None:
        self._waiter = waiter
        self._is_head = is_head
        self._headers: Headers = []
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._more: asyncio.Future[None] | None = None
        self._has_head = self._ends_with_connection = False
        self._is_whole = False
        self._is_streaming = False
        self._is_paused = False

    def is_usable(self, now: float) -> bool:
        """Whether it takes another request."""
        is_open = not self._is_lost and self._transport is not None and not self._transport.is_closing()
        return is_open and now - self._born < LONGEST_S

    async def ask(self, request: Request, is_head: bool) -> Answer:
        """The answer to a request. Raises UpstreamError where the connection was lost, or what came is no HTTP."""
        if self._is_lost or self._transport is None:
            raise UpstreamError("connection lost")
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._begin(waiter, is_head=is_head)
        self._transport.write(request.head)
        if request.body:
            self._transport.write(request.body)
        try:
            return await waiter
        except asyncio.CancelledError:
            self.close()
            raise

    async def next_piece(self, timeout_s: float) -> bytes:
        """A further piece of a large answer; empty after the last one.

        Raises UpstreamError where the connection was lost before, or nothing came in time.
        """
        while not self._pieces:
            if self._is_whole:
                return b""
            if self._is_lost:
                raise UpstreamError("connection lost")
            self._more = self._loop.create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._more
            except TimeoutError:
                raise UpstreamError(f"no more within {timeout_s:.3g} s", is_late=True) from None
        self._held = 0
        pieces = b"".join(self._pieces)
        self._pieces.clear()
        if self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()
        return pieces

    def close(self) -> None:
        """Close it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is given
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiter is None and not self._is_streaming:
            self.close()  # nothing was asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("no HTTP")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self in self._idle:
            self._idle.remove(self)
        if self._ends_with_connection and exc is None and not self._is_whole:
            self._complete()
        self._fail("connection lost")

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        self._has_head = True
        names = {name for name, _ in self._headers}
        has_body = not self._is_head and self._parser.get_status_code() not in (204, 304)
        self._ends_with_connection = has_body and not names & {b"content-length", b"transfer-encoding"}
        if self._is_head:
            # The parser would wait for the body that the header announces.
            self._complete()

    def on_body(self, body: bytes) -> None:
        if self._is_whole:
            return
        self._pieces.append(body)
        self._held += len(body)
        self._wake()
        if self._held <= MOST_HELD_BYTES:
            return
        if self._is_streaming:
            if not self._is_paused and self._transport is not None:
                self._is_paused = True
                self._transport.pause_reading()
            return
        self._is_streaming = True
        self._resolve(self)

    def on_message_complete(self) -> None:
        if not self._has_head:
            self._headers = []  # an interim answer
        elif not self._is_whole:
            self._complete()

    def _complete(self) -> None:
        self._is_whole = True
        if self._is_streaming:
            self._wake()
        else:
            self._resolve(None)
        is_kept = not (self._is_streaming or self._is_head or self._ends_with_connection or self._is_lost)
        is_sent = self._transport is not None and not self._transport.get_write_buffer_size()
        if is_kept and is_sent and self._parser.should_keep_alive():
            self._idle.append(self)
        else:
            self.close()

    def _resolve(self, rest: Connection | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        named = {token.strip() for name, value in self._headers if name == b"connection" for token in value.split(b",")}
        dropped = HOP_BY_HOP | {token.lower() for token in named}
        headers = [each for each in self._headers if each[0] not in dropped]
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        waiter.set_result(Answer(self._parser.get_status_code(), headers, body, rest))

    def _fail(self, detail: str) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(UpstreamError(detail))
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

"""Limits what one client may use of a server: bytes of a head, time for a head and a body, connections, memory.

uvicorn reads heads of any size and waits for the rest of a request for ever. `Connection` is its protocol with limits,
`Connections` tracks which of them wait for bytes, and `ByteBudget` counts what large bodies and unread answers take.

Above the most connections, one that is not in use is closed: first the one that has waited longest for bytes of a
request, then the one that has been idle for longest. If all are in use, a further one is answered with 429, except for
health checks. So slow clients cannot keep others out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
from typing import Any, Protocol

from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from winnow.serving import problems
from winnow.serving.problems import ProblemError
from winnow.serving.request import ByteBudget, Receive, Scope, Send
from winnow.serving.settings import ServingSettings

GRACE_S = 1.0
"""How long a connection may wait for bytes before it makes room for another."""
SWEEP_S = 1.0
LINGER_S = 1.0
MOST_THROWN_AWAY_BYTES = 2**20
"""How long, and how much, a client may keep sending after its request was refused."""
SPARE_DESCRIPTORS = 128
"""For the model, the log, listening sockets, and modules that are imported late."""


class Application(Protocol):
    """What connections need of the application (ASGI) that answers their requests."""

    budget: ByteBudget

    def start_draining(self) -> None:
        """Stop being ready, and ask every client to close its connection after the next answer."""

    async def answer_health_alone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request beyond the most connections: health checks, the rest with 429."""

    def refusal(self, problem: ProblemError, *, is_counted: bool) -> bytes:
        """A whole HTTP response to a request that was not received whole."""


class Connections:
    """All connections of a server.

    Args:
        most: connections above which room is made; twice as many are never exceeded.
        longest_s: age from which a client is asked to close its connection with the next answer.
    """

    def __init__(
        self, app: Application, settings: ServingSettings, most: int, *, longest_s: float = float("inf")
    ) -> None:
        self.app = app
        self.budget: ByteBudget = app.budget
        self.settings = settings
        self.most = most
        self.longest_s = longest_s
        self.all: set[Connection] = set()
        self.waiting: dict[Connection, float] = {}
        """Those that wait for bytes of a request, with when that began; the longest waiting first."""
        self.unread: set[Connection] = set()
        """Those whose client reads its answer slowly."""
        self.entry: object = None
        """What connections are accepted from besides the server's own socket. Those of an earlier one are asked to
        end."""

    def protocol(self, *given: Any, entry: object = None, **named: Any) -> asyncio.Protocol:
        """A new connection's protocol, for uvicorn. `entry`: where it comes from; None for the server's own socket."""
        return Connection(self, entry, *given, **named)

    def admit(self, connection: Connection, now: float) -> bool:
        """Add a new connection and close an unused one if there are too many; False if all are in use."""
        self.all.add(connection)
        if len(self.all) <= self.most:
            return True
        slowest = next(iter(self.waiting), None)
        if slowest is not None and (now - self.waiting[slowest] > GRACE_S or len(self.all) > 2 * self.most):
            slowest.expire()
            return True
        idle = [each for each in self.all if each.idle_until is not None]
        if idle:
            min(idle, key=lambda each: each.idle_until or 0.0).leave()
            return True
        return False

    def forget(self, connection: Connection) -> None:
        """Remove a connection that is closed or about to be."""
        self.all.discard(connection)
        self.waiting.pop(connection, None)
        self.unread.discard(connection)

    def sweep(self, now: float) -> None:
        """Close the connections that have taken too long."""
        shortest = min(self.settings.header_timeout_s, self.settings.body_timeout_s)
        late = itertools.takewhile(lambda each: now - each[1] >= shortest, self.waiting.items())
        for connection, _ in list(late):
            connection.check_time(now)
        for connection in list(self.unread):
            connection.check_reading(now)

    def sweep_repeatedly(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sweep now and every second, or more often where a limit is short."""
        self.sweep(loop.time())
        shortest = min(self.settings.header_timeout_s, self.settings.body_timeout_s)
        loop.call_later(min(SWEEP_S, shortest / 4), self.sweep_repeatedly, loop)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits, which also answers clients that have closed their sending half."""

    def __init__(self, connections: Connections, entry: object, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._table = connections
        self._entry = entry
        self._born = 0.0
        self._largest_head = connections.settings.max_header_bytes
        self._head_bytes = 0
        self._whole_scope: HTTPScope | None = None
        """The scope of the last request that was received whole; uvicorn makes one for each."""
        self._is_refused = False
        self._unsent_bytes = 0
        self._unsent_since = 0.0

    @property
    def idle_until(self) -> float | None:
        """When a connection that waits for another request is closed; None while it is in use."""
        is_idle = self.scope is self._whole_scope and not self._is_answering()
        return self.timeout_keep_alive_task.when() if is_idle and self.timeout_keep_alive_task is not None else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        now = self.loop.time()
        if not self._table.admit(self, now):
            self.app = self._answer_health_alone
        self._table.waiting[self] = self._born = now

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.forget(self)
        self._count_unsent(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if len(data) > self._largest_head and not self._is_in_body():
            for start in range(0, len(data), self._largest_head):
                if not self._is_refused and not self.transport.is_closing():
                    self.data_received(data[start : start + self._largest_head])
            return
        super().data_received(data)
        # Every request passes here, so this checks only whether the last one is whole.
        if self.scope is self._whole_scope and self.cycle is not None and not self.cycle.response_complete:
            self._table.waiting.pop(self, None)
        elif self in self._table.all and not self._is_refused:
            self._owe(len(data))

    def _owe(self, size: int) -> None:
        """Wait for the rest of a request, after `size` bytes that did not end it."""
        waiting, now = self._table.waiting, self.loop.time()
        if not self._is_in_head():
            if self._head_bytes:
                waiting.pop(self, None)  # the time for a body begins
            self._head_bytes = 0
            waiting.setdefault(self, now)
            return
        waiting.setdefault(self, now)
        self._head_bytes += size
        if self._head_bytes > self._largest_head:
            self._refuse_sender(
                ProblemError("head-too-large", f"Expected a head of at most {self._largest_head} bytes.")
            )

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns None, which closes the connection
        """Keep a half-closed connection open while a whole request on it is answered."""
        if self.scope is not self._whole_scope or not self._is_answering():
            return False
        self.cycle.keep_alive = False  # the last request's: connections close after their last answer
        return True

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        is_left = self._entry is not None and self._entry is not self._table.entry
        is_old = self.loop.time() - self._born > self._table.longest_s
        if (is_left or is_old) and self.cycle is not None:
            self.cycle.keep_alive = False  # the client comes back, to the revision or the router that is chosen then

    def on_message_complete(self) -> None:
        self._whole_scope = self.scope
        self._head_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent_since = self.loop.time()
        self._count_unsent(self.transport.get_write_buffer_size())
        self._table.unread.add(self)

    def resume_writing(self) -> None:
        self._count_unsent(0)
        self._table.unread.discard(self)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse_sender(ProblemError("malformed-request", "Expected an HTTP/1.1 request."))

    def check_time(self, now: float) -> None:
        """Close the connection if it has waited for bytes for too long."""
        if self.flow.read_paused or (self._is_in_head() and self._is_answering()):
            # The client is not slow: an earlier request of this connection is being answered.
            del self._table.waiting[self]
            self._table.waiting[self] = now
            return
        settings = self._table.settings
        limit_s = settings.body_timeout_s if self._is_in_body() else settings.header_timeout_s
        if now - self._table.waiting[self] >= limit_s:
            self.expire()

    def check_reading(self, now: float) -> None:
        """Close the connection if its client has read nothing of an answer for too long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent_bytes:
            self._count_unsent(unsent)
            self._unsent_since = now
        elif now - self._unsent_since >= self._table.settings.body_timeout_s:
            self._table.forget(self)
            self.transport.abort()

    def expire(self) -> None:
        """Close a connection that waits for bytes, answering a request that has begun and has no answer yet."""
        is_in_body = self._is_in_body()
        if self._is_refused or (not self._is_in_head() and not (is_in_body and not self.cycle.response_started)):
            self.leave()
            return
        if is_in_body:
            self.scope["state"]["status"] = problems.TITLES["request-timeout"][0]  # for the metrics
        rest = "body" if is_in_body else "head"
        self._refuse(ProblemError("request-timeout", f"Expected the rest of the request's {rest}, which did not come."))

    def leave(self) -> None:
        """Close the connection without an answer."""
        self._table.forget(self)
        self.transport.close()

    async def _answer_health_alone(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.cycle.keep_alive = False
        await self._table.app.answer_health_alone(scope, receive, send)

    def _is_in_head(self) -> bool:
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _is_in_body(self) -> bool:
        return self.scope is not self._whole_scope and not self._is_in_head()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: ProblemError) -> None:
        """Answer an unfinished request, and close the connection."""
        self._table.forget(self)
        is_in_body = self._is_in_body()
        if is_in_body or not self._is_answering():  # not in the middle of an earlier answer
            self.transport.write(self._table.app.refusal(problem, is_counted=not is_in_body))
        self.transport.close()

    def _refuse_sender(self, problem: ProblemError) -> None:
        """Answer a request that is still being sent, and close the connection a little later.

        Closing at once, with bytes unread, would reset the client's side before it has read the answer.
        """
        if self._is_answering():
            self._refuse(problem)
            return
        self.transport.write(self._table.app.refusal(problem, is_counted=True))
        self.transport.set_protocol(_Refused(self))
        self._table.waiting[self] = self.loop.time()
        self._is_refused = True
        self.loop.call_later(LINGER_S, self.leave)

    def _count_unsent(self, size: int) -> None:
        self._table.budget.held += size - self._unsent_bytes
        self._unsent_bytes = size


class _Refused(asyncio.Protocol):
    """Discards what a client still sends after its request was refused."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MOST_THROWN_AWAY_BYTES:
            self._connection.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)


def most_connections(wanted: int) -> int:
    """How many of the wanted connections this process has file descriptors for, after raising its soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + SPARE_DESCRIPTORS
    if soft < needed:
        wished = min(needed, hard) if hard != resource.RLIM_INFINITY else needed
        # macOS refuses more than 10,240, whatever the hard limit says.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))
            soft = wished
    return max(min(wanted, (soft - SPARE_DESCRIPTORS) // 2), 1)

"""The parts of an ASGI request and response that the hot path needs, without a web framework."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from winnow.serving import problems
from winnow.serving.problems import ProblemError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

UNCOUNTED_BYTES = 64 * 1024
"""Bodies that come whole and are no larger are not counted, since they are answered at once."""
LONGEST_LENGTH = 20
"""A Content-Length of so many digits is beyond every limit, so further digits do not matter."""
DISCARD_FACTOR = 4
"""Bodies up to so many times the limit are read and discarded, since a client reads no answer while it sends."""

ROUTE_NAME = b"x-winnow-route"
"""Set by routers, for the prediction log: `SERIAL REVISION KIND`, as `prediction_log.parsed_route` reads it."""

_GOOD_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_own_prefix = os.urandom(6).hex()
_own_numbers = itertools.count()


class ByteBudget:
    """The bytes that a server holds of large bodies and of unread answers, and the most that it accepts."""

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class Reservation:
    """The part of a budget that one request holds."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held = 0

    def add(self, size: int) -> bool:
        """Hold so many bytes more; False, and nothing held, if the budget has no room for them."""
        if self._budget.held + size > self._budget.most:
            return False
        self._budget.held += size
        self._held += size
        return True

    def release(self) -> None:
        """Hold nothing any more."""
        self._budget.held -= self._held
        self._held = 0


class ClientGoneError(Exception):
    """The client closed the connection before its request was whole."""


class Reply(NamedTuple):
    """A whole response. `headers` do not include the content's length."""

    status: int
    media_type: bytes
    body: bytes
    headers: Headers = ()


class Head(NamedTuple):
    """What matters here of the request's head. Header values as sent, empty if absent."""

    method: str
    path: str
    content_type: bytes
    content_encoding: bytes
    content_length: int | None
    authorization: bytes
    api_key: bytes
    traceparent: bytes
    request_id: str
    route: bytes


def head_of(scope: Scope) -> Head:
    """Read the head; a request without a usable X-Request-ID gets one."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    get = headers.get
    length = get(b"content-length", b"")
    if len(length) >= LONGEST_LENGTH:  # Python reads no numbers of more than 4,300 digits
        length = length.lstrip(b"0")[:LONGEST_LENGTH] or b"0"
    given = get(b"x-request-id", b"")
    return Head(
        method=scope["method"],
        path=scope["path"],
        content_type=get(b"content-type", b""),
        content_encoding=get(b"content-encoding", b""),
        content_length=int(length) if length.isdigit() else None,
        authorization=get(b"authorization", b""),
        api_key=get(b"x-api-key", b""),
        traceparent=get(b"traceparent", b""),
        request_id=given.decode() if _GOOD_ID.fullmatch(given) is not None else own_id(),
        route=get(ROUTE_NAME, b""),
    )


def is_request_id(text: str) -> bool:
    """Whether a request may have this id."""
    return text.isascii() and _GOOD_ID.fullmatch(text.encode()) is not None


def own_id() -> str:
    """A new request id: no other request of this process has it."""
    return f"{_own_prefix}-{next(_own_numbers):x}"


def media_type_of(head: Head, allowed: tuple[str, ...]) -> str:
    """The body's media type; a request that names none is taken as the first allowed one.

    Raises ProblemError where it is none of them, not in UTF-8, or compressed.
    """
    if head.content_encoding.lower() not in (b"", b"identity"):
        raise ProblemError("unsupported-media-type", "Expected a body without content encoding: send it uncompressed.")
    if not head.content_type:
        return allowed[0]
    name, *parameters = head.content_type.decode("latin-1").lower().split(";")
    for parameter in parameters:
        key, _, value = parameter.strip().partition("=")
        if key == "charset" and value.strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise ProblemError("unsupported-media-type", "Expected a body in UTF-8.")
    if name.strip() not in allowed:
        types = " or ".join(f'"content-type: {each}"' for each in allowed)
        accepts = (b"accept-post", ", ".join(allowed).encode())
        raise ProblemError("unsupported-media-type", f"Expected the header {types}.", headers=[accepts])
    return name.strip()


async def body_of(head: Head, receive: Receive, largest: int, reserved: Reservation) -> bytes:
    """The whole body. A body that comes in pieces, or is large, is reserved from the budget while it is read.

    Raises:
        ProblemError: it is larger than `largest` bytes, or there is no room for it now.
        ClientGoneError: it never became whole.
    """
    declared = head.content_length or 0
    if declared > largest * DISCARD_FACTOR:
        raise _too_large(largest)
    pieces: list[bytes] = []
    size = 0
    has_room = True
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        piece = message.get("body", b"")
        has_more = message.get("more_body", False)
        size += len(piece)
        if has_room and (has_more or size > UNCOUNTED_BYTES):
            has_room = reserved.add(len(piece))
        if size <= largest and has_room:
            pieces.append(piece)
        else:
            pieces.clear()
            reserved.release()
            if size > largest * DISCARD_FACTOR:
                raise _too_large(largest)
        if not has_more:
            break
    if size > largest:
        raise _too_large(largest)
    if not has_room:
        raise problems.too_busy("Expected room for another large body, found none: send it again in a moment.")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def reply_with(reply: Reply, head: Head, send: Send, further: Headers) -> None:
    """Send a whole response, with the request's id and further headers."""
    headers = _headers_of(reply, head.request_id, further)
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head.method == "HEAD" else reply.body})


def _headers_of(reply: Reply, request_id: str, further: Headers) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", reply.media_type),
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request_id.encode()),
        *reply.headers,
        *further,
    ]


def problem_reply(
    problem: ProblemError, request_id: str, amend: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
) -> Reply:
    """The response that tells a problem; `amend` adds the members that a protocol's clients look for."""
    body = msgspec.json.encode(amend(problems.members_of(problem, request_id)))
    return Reply(problem.status, problems.MEDIA_TYPE, body, problem.headers)


def raw_refusal(problem: ProblemError, further: Headers) -> bytes:
    """A whole response in HTTP/1.1 for a request that no application sees; the connection ends with it."""
    request_id = own_id()
    reply = problem_reply(problem, request_id)
    lines = [b"HTTP/1.1 %d %s" % (reply.status, HTTPStatus(reply.status).phrase.encode()), b"connection: close"]
    given = ((name, value) for name, value in _headers_of(reply, request_id, further) if name != b"connection")
    lines += [b"%s: %s" % header for header in given]
    return b"\r\n".join([*lines, b"", reply.body])


def _too_large(largest: int) -> ProblemError:
    detail = f"Expected a body of at most {largest} bytes: send the rows in several requests."
    return ProblemError("too-large", detail, headers=[(b"connection", b"close")])

"""Calls an ASGI application without a server, and keeps what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def call(
    app: Any,
    method: str,
    path: str,
    body: bytes | object = b"",
    headers: Mapping[str, str] = JSON,
    pieces: int = 1,
    scope: Mapping[str, Any] | None = None,
) -> Response:
    """One request; a body that is not bytes is sent as JSON, in `pieces` messages. `scope` changes the request's."""
    return asyncio.run(answer(app, method, path, body, headers, pieces, scope))


async def answer(
    app: Any,
    method: str,
    path: str,
    body: bytes | object = b"",
    headers: Mapping[str, str] = JSON,
    pieces: int = 1,
    scope: Mapping[str, Any] | None = None,
) -> Response:
    """The same on the event loop that runs."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return await _call(app, method, path, content, headers, pieces, scope or {})


async def _call(
    app: Any,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    pieces: int,
    changes: Mapping[str, Any],
) -> Response:
    size = max(-(-len(body) // pieces), 1)
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    inbox = [
        {"type": "http.request", "body": part, "more_body": index < len(parts) - 1} for index, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return inbox.pop(0) if inbox else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        **changes,
    }
    await app(scope, receive, send)
    start = sent[0]
    answered = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Response(start["status"], answered, content)

"""What containers print, read from the engine while the containers exist."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from winnow.platforms.docker.client import ignoring
from winnow.platforms.docker.group_state import Node


def lines(api: Any, node: Node, seen: dict[str, str], *, follow: bool) -> Iterator[str]:
    """Lines of a container's log, with the node's number where there are several; none where the container is gone.

    Args:
        api: the engine's, an `APIClient`.
        seen: container id → time of the last line that was read. Only newer lines are read, and the time is updated.
        follow: go on until the container's process ends.
    """
    prefix = f"node {node.index}: " if node.count > 1 else ""
    before = seen.get(node.id, "")
    unfinished = b""
    for frame in _frames(api, node.id, before, follow=follow):
        stamp, _, text = frame.partition(b" ")
        # Fixed in width and in UTC, so that the order of the texts is that of the times.
        if (at := stamp.decode()) <= before:
            continue
        seen[node.id] = at
        unfinished += text
        if unfinished.endswith(b"\n"):
            yield prefix + unfinished.decode(errors="replace").rstrip()
            unfinished = b""
    if unfinished:
        yield prefix + unfinished.decode(errors="replace")


def _frames(api: Any, container_id: str, after: str, *, follow: bool) -> Iterator[bytes]:
    """Pieces of the log as the engine keeps them: a line, or a part of one that is longer than 16 KiB."""
    since = _seconds(after) if after else None
    with ignoring(HTTPStatus.NOT_FOUND):
        frames = api.logs(container_id, stream=True, follow=follow, timestamps=True, since=since)
        # Its own close() cuts a connection that is still read, and cannot do so over SSH; without any a socket
        # stays open until the next garbage collection.
        with contextlib.closing(frames._response):
            yield from frames


def _seconds(stamp: str) -> int:
    """The whole seconds since the epoch of a time in the engine's log."""
    return int(datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC).timestamp())

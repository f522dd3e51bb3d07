"""Merge several streams of lines into one, in the order in which the lines come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence


def merged(streams: Sequence[Iterator[str]]) -> Iterator[str]:
    """The lines of all streams, until the last one ends. Raises the first error of any stream.

    The threads that read the streams end with the process, since the reader may stop at any time.
    """
    if len(streams) == 1:
        yield from streams[0]
        return
    lines: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
    for stream in streams:
        threading.Thread(target=_read, args=(stream, lines), daemon=True).start()
    left = len(streams)
    while left:
        line = lines.get()
        if isinstance(line, BaseException):
            raise line
        if line is None:
            left -= 1
        else:
            yield line


def _read(stream: Iterator[str], lines: queue.SimpleQueue[str | BaseException | None]) -> None:
    try:
        for line in stream:
            lines.put(line)
    except BaseException as error:  # noqa: BLE001 - it is raised again where the lines are read
        lines.put(error)
    lines.put(None)

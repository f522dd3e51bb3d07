"""An open-loop load: requests leave on a fixed schedule, whatever has become of those before.

A closed loop waits for its answers, so it sends nothing just while a server has nothing to say, and sees no fault. Here
the number of requests is bounded and each is accounted for: answered with 200, or failed, and how. Every other request
takes a connection of its own; the others share connections that are kept open, since a change of servers may break
either kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 15.0


@dataclass
class Outcome:
    """What became of the requests. Latencies count from when a request was due, not from when it was sent.

    Attributes:
        failed_at: when each failure was known, on the clock of `time.monotonic`.
    """

    sent: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    failed_at: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def percentile(self, percent: int) -> float:
        """Of the latencies of answered requests, in milliseconds."""
        return statistics.quantiles(self.latencies_ms, n=100, method="inclusive")[percent - 1]


class Load:
    """Sends POST requests until it is told to stop, at most `most` of them.

    Args:
        rate_per_s: requests due in a second.
        headers: header lines to add.
    """

    def __init__(self, url: str, body: bytes, *, rate_per_s: float, most: int, headers: tuple[str, ...] = ()) -> None:
        parts = urlsplit(url)
        name = str(parts.hostname)
        # Names below `localhost` are this machine's, also where the resolver does not know them.
        self._host, self._port = "localhost" if name.endswith(".localhost") else name, int(parts.port or 80)
        lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", "content-type: application/json", *headers]
        self._head = "\r\n".join([*lines, f"content-length: {len(body)}"])
        self._body = body
        self._rate, self._most = rate_per_s, most
        self._stop = threading.Event()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.outcome = Outcome()

    def run(self) -> None:
        """Send, and return when every request has ended."""
        asyncio.run(self._send_all())

    def stop(self) -> None:
        """Send no more."""
        self._stop.set()

    async def _send_all(self) -> None:
        started = time.perf_counter()
        tasks = []
        for number in range(self._most):
            due = started + number / self._rate
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            if self._stop.is_set():
                break
            tasks.append(asyncio.create_task(self._send(due, is_fresh=number % 2 == 0)))
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            await _close(writer)
        self.outcome.seconds = time.perf_counter() - started

    async def _send(self, due: float, *, is_fresh: bool) -> None:
        self.outcome.sent += 1
        try:
            status, version = await asyncio.wait_for(self._ask(is_fresh=is_fresh), TIMEOUT_S)
        except (OSError, EOFError, TimeoutError) as error:
            self._fail(type(error).__name__)
            return
        self.outcome.latencies_ms.append((time.perf_counter() - due) * 1000)
        if status == 200:
            self.outcome.ok += 1
            self.outcome.versions[version] += 1
        else:
            self._fail(str(status))

    def _fail(self, how: str) -> None:
        self.outcome.failed[how] += 1
        self.outcome.failed_at.append(time.monotonic())

    async def _ask(self, *, is_fresh: bool) -> tuple[int, str]:
        connection = self._idle.pop() if self._idle and not is_fresh else None
        reader, writer = connection or await asyncio.open_connection(self._host, self._port)
        is_kept = False
        try:
            closing = "connection: close\r\n" if is_fresh else ""
            writer.write(f"{self._head}\r\n{closing}\r\n".encode() + self._body)
            await writer.drain()
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            await reader.readexactly(int(headers.get("content-length", "0")))
            is_kept = not is_fresh and headers.get("connection", "").lower() != "close"
        finally:
            if not is_kept:
                await _close(writer)
        self._idle.append((reader, writer)) if is_kept else None
        version = headers.get("x-winnow-model", "").partition(" ")[0].rpartition("/")[2]
        return int(first.split()[1]), version


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.contextmanager
def running(load: Load, *, lead_s: float = 0.5) -> Iterator[Outcome]:
    """Send beside what is done inside, from `lead_s` before it until as long after it."""
    thread = threading.Thread(target=load.run, name="load")
    thread.start()
    try:
        time.sleep(lead_s)
        yield load.outcome
        time.sleep(lead_s)
    finally:
        load.stop()
        thread.join()

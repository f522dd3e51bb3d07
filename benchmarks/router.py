"""What the router adds to a request, and what a mirror of 10 % costs in throughput.

A client, the router and two real servers share this machine. The client asks stable directly and through routers, in
turn, over kept connections: the figures are medians of one run and their differences. Bodies are one row, padded with
spaces. Throughput is of 16 connections, with and without a mirror, in turn. Where client, router and both servers
contend for the same cores, a mirror's cost includes the candidate's own work.

    python benchmarks/router.py [--requests 2000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.serving import bundles

from winnow.routing import Route, RouterSettings, to_json
from winnow.serving.router.settings import SETTINGS, TOKEN

ROW = b'{"rows": [[1.25, 2.5, 3.75]]}'
SIZES = (800, 16_384)
CONNECTIONS = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = bundles.classification(place / "bundle")
        servers = [
            stack.enter_context(process_at(place / name, ["winnow.serving", "--bundle", str(bundle)], {}))
            for name in ("stable", "candidate")
        ]
        routers = {
            name: stack.enter_context(_router(place / name, servers, weight, mirror))
            for name, weight, mirror in (("router", 0.0, 0.0), ("half", 0.5, 0.0), ("mirror", 0.0, 0.1))
        }
        for size in SIZES:
            _print_latency(size, {"direct": servers[0], **routers}, given.requests)
        _print_throughput({"direct": servers[0], "router": routers["router"], "mirror": routers["mirror"]}, given)


def _print_latency(size: int, ports: dict[str, int], requests: int) -> None:
    message = request_of(size)
    found: dict[str, list[float]] = {name: [] for name in ports}
    with ExitStack() as stack:
        clients = {name: stack.enter_context(socket.create_connection(("127.0.0.1", ports[name]))) for name in ports}
        for client in clients.values():
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            for name, client in clients.items():
                started = time.perf_counter()
                _ask(client, message)
                found[name].append((time.perf_counter() - started) * 1e3)
    direct = statistics.median(found["direct"])
    for name, times in found.items():
        median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
        added = f", {median - direct:+.3f} ms, x{median / direct:.2f}"
        print(f"{size:6} B  {name:8} median {median:.3f} ms, p99 {p99:.3f} ms{added if name != 'direct' else ''}")


def _print_throughput(ports: dict[str, int], given: Any) -> None:
    rates: dict[str, list[float]] = {name: [] for name in ports}
    for _ in range(given.rounds):
        for name, port in ports.items():
            rates[name].append(asyncio.run(rate_of(port, request_of(SIZES[0]), given.requests)))
    for name, found in rates.items():
        print(f"{CONNECTIONS} connections  {name:8} {statistics.median(found):6.0f} requests/s")
    ratios = [mirror / router for mirror, router in zip(rates["mirror"], rates["router"], strict=True)]
    print(f"throughput with a mirror of 10 % / without: {statistics.median(ratios):.3f}")


async def rate_of(port: int, message: bytes, requests: int) -> float:
    async def ask(count: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(ask(requests // CONNECTIONS) for _ in range(CONNECTIONS)))
    return requests / (time.perf_counter() - started)


def request_of(size: int) -> bytes:
    body = ROW.ljust(size)
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % size
    return head + body


def _ask(client: socket.socket, message: bytes) -> None:
    client.sendall(message)
    data = client.recv(65_536)
    while b"\r\n\r\n" not in data:
        data += client.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    while len(body) < _length(head):
        body += client.recv(65_536)


def _length(head: bytes) -> int:
    line = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return int(line[15:])


@contextmanager
def _router(place: Path, servers: list[int], weight: float, mirror: float) -> Iterator[int]:
    stable, candidate = ((f"127.0.0.1:{port}",) for port in servers)
    route = Route(serial=1, stable=1, candidate=2, weight=weight, mirror=mirror)
    settings = RouterSettings("cells", route, stable, candidate, is_classifier=True)
    environment = {SETTINGS: to_json(settings), TOKEN: "secret"}
    with process_at(place, ["winnow.serving.router"], environment) as port:
        yield port


@contextmanager
def process_at(ready: Path, arguments: list[str], environment: dict[str, str]) -> Iterator[int]:
    argv = [sys.executable, "-m", *arguments, "--ready-file", str(ready), "--settle-s", "0"]
    process = subprocess.Popen(argv, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None, arguments
            assert time.monotonic() < deadline, arguments
            time.sleep(0.02)
        yield int(msgspec.json.decode(ready.read_bytes())["port"])
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()

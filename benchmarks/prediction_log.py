"""What a log of predictions costs a server: throughput, processor time and the slowest answers.

One real server for each setting, all on this machine, asked in turn over 16 kept connections with one row at a time.
Where client and server contend for the same cores, the ratio of throughputs includes the thread that writes.

    python benchmarks/prediction_log.py [--requests 8000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import psutil
from router import SIZES, process_at, rate_of, request_of

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.unit.serving import bundles

from winnow.routing import PredictionLogSettings, ReplicaSettings, server_settings

FIELDS = bundles.COLUMNS[:2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = bundles.classification(place / "bundle")
        logs = {
            "no log": None,
            "sample 0.1": PredictionLogSettings(sample=0.1, fields=FIELDS, to=str(place / "tenth.jsonl")),
            "sample 1.0": PredictionLogSettings(fields=FIELDS, to=str(place / "all.jsonl")),
        }
        ports = {
            name: stack.enter_context(
                process_at(
                    place / name,
                    ["winnow.serving", "--bundle", str(bundle)],
                    {"WINNOW_SERVING": server_settings(ReplicaSettings(log=log), deployment="cells", revision=1)},
                )
            )
            for name, log in logs.items()
        }
        servers = {each.laddr.port: each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN"}
        rates: dict[str, list[float]] = {name: [] for name in logs}
        times: dict[str, list[float]] = {name: [] for name in logs}
        for _ in range(given.rounds):
            for name, port in ports.items():
                process = psutil.Process(servers[port])
                before = sum(process.cpu_times()[:2])
                rates[name].append(asyncio.run(rate_of(port, request_of(SIZES[0]), given.requests)))
                times[name].append((sum(process.cpu_times()[:2]) - before) / given.requests * 1e6)
    for name in logs:
        rate, used = statistics.median(rates[name]), statistics.median(times[name])
        print(f"{name:10}  {rate:6.0f} requests/s, {used:5.0f} µs of the server's processor time for each")
    for name in list(logs)[1:]:
        ratios = [rate / other for rate, other in zip(rates[name], rates["no log"], strict=True)]
        print(f"throughput with {name} / without: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()

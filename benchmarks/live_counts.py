"""What counting requests for monitoring costs a server.

Other programs on the machine disturb a comparison of servers by more than counting costs. So what counting adds to a
request is measured in one process, where the same request is answered in turn by applications that count, that rest
because they have counted enough, and whose bundle has no profile; the medians of many short turns differ by a hundredth
of a microsecond. What a request takes altogether, and how many of them a server counts under full load, is measured at
a real server, asked over 16 kept connections. The model has 30 columns.

    python benchmarks/live_counts.py [--requests 40000] [--turns 100]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import msgspec
import psutil
from router import process_at, rate_of
from torch import nn

from winnow.bundle.row_counter import Answering
from winnow.config.experiment import Experiment
from winnow.serving.live_counts import SHARE, LiveCounts
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings
from winnow.training.export import Origin, example_body, export
from winnow.training.fitting import ExportModule
from winnow.training.preparation import prepare
from winnow.training.profiling import profile_of

EXPERIMENT = {
    "name": "cells",
    "data": {"source": "sklearn:breast_cancer", "holdout": 0.2},
    "model": {"factory": "winnow.models:mlp"},
    "search": {"space": {"lr": {"float": [0.1, 1]}}, "metric": {"name": "accuracy"}},
}
ROWS = (1, 64)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--turns", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        row = _bundles(place)
        for rows in ROWS:
            body = msgspec.json.encode({"rows": [row] * rows})
            whole, counted = _at_server(place, body, given.requests // (1 if rows == 1 else 4))
            added = asyncio.run(_added(place, body, given.turns, 600 // rows + 20))
            print(f"{rows:2} rows: a request takes {whole:.0f} µs of a server, {counted:.0%} of the rows are counted")
            for name, each in added.items():
                print(f"    {name:8} {each:+6.2f} µs, {each / whole:+.1%}")
            print(f"    under full load {SHARE + added['resting'] / whole:+.1%}")


def _bundles(place: Path) -> dict[str, object]:
    """Write both bundles; returns a row to ask them."""
    prepared = prepare(Experiment.model_validate(EXPERIMENT))
    data, split = prepared.data, prepared.holdout
    width = data.features.shape[1]
    network = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 2))
    model = ExportModule(nn.Identity(), network, nn.Softmax(-1)).eval()
    answering = Answering(data.class_names)
    for name, profile in (("counting", profile_of(model, prepared, answering, None, 1.0)), ("plain", None)):
        export(model, data, split.holdout, split.rest, Origin("cells", 0, {}, {}), place / name, profile)
    return example_body(data, data.features[0])["rows"][0]


def _at_server(place: Path, body: bytes, requests: int) -> tuple[float, float]:
    """Microseconds of a server's processor for a request under full load, and the share of rows that it counts."""
    head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with process_at(place / "port", ["winnow.serving", "--bundle", str(place / "counting")], {}) as port:
        found = psutil.net_connections("tcp")
        process = psutil.Process(
            next(each.pid for each in found if each.laddr.port == port and each.status == "LISTEN")
        )
        before = sum(process.cpu_times()[:2])
        asyncio.run(rate_of(port, head % len(body) + body, requests))
        used = sum(process.cpu_times()[:2]) - before
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:  # nosec B310
            text = answer.read().decode()
    (place / "port").unlink(missing_ok=True)
    names = ("winnow_counted_rows_total", "winnow_uncounted_rows_total")
    counted, left_out = (float(text.split(f"\n{name} ")[1].split("\n")[0]) for name in names)
    return used / requests * 1e6, counted / (counted + left_out)


async def _added(place: Path, body: bytes, turns: int, requests: int) -> dict[str, float]:
    """Microseconds of processor time that a request takes longer than without a profile."""
    kinds = {"plain": "plain", "counting": "counting", "resting": "counting", "again": "plain"}
    apps = {name: load_app(place / bundle, "1", ServingSettings()) for name, bundle in kinds.items()}
    # A second for each count is too much: the application rests after the first.
    for name, share, used in (("counting", 1.0, time.thread_time), ("resting", 1e-9, itertools.count().__next__)):
        predictor = apps[name]._predictor
        apps[name]._counts = LiveCounts(predictor.signature, predictor.profile, share=share, used=used)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_message: object) -> None:
        pass

    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(turns + turns // 10):
        for name, app in apps.items():
            before = time.process_time()
            for _ in range(requests):
                await app(dict(scope), receive, send)
            times[name].append((time.process_time() - before) / requests * 1e6)
    plain = times.pop("plain")[-turns:]
    return {
        name: statistics.median(mine - other for mine, other in zip(found[-turns:], plain, strict=True))
        for name, found in times.items()
    }


if __name__ == "__main__":
    sys.exit(main())

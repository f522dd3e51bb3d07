"""The verdict on a step from a real Prometheus that scrapes what servers publish."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docker.prometheus_images import PROMETHEUS
from tests.docker.test_monitor import container, scraping
from tests.unit.orchestrators.test_rollout_verdict import CANDIDATE, STABLE, server
from winnow.config.clock import Clock
from winnow.finding import Result
from winnow.orchestrators.rollout_verdict import RevisionHashes, await_verdict, of_prometheus, step_of
from winnow.serving.metrics import Metrics

pytestmark = pytest.mark.docker

STEP = (
    '{"most_s": 60, "alpha": 0.05, "conditions": [{"type": "errors", "margin": 0.02}, '
    '{"type": "latency", "margin": 0.5}]}'
)
PODS = (f"cells-{STABLE}-x", f"cells-{CANDIDATE}-y")


@contextmanager
def published(replicas: Mapping[str, Metrics]) -> Iterator[str]:
    """The metrics of each replica at `/NAME`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(replicas[self.path.removeprefix("/")].exposition())

        def log_message(self, *_arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()


@pytest.mark.parametrize(("failing", "expected"), [(0, Result.PASS), (300, Result.FAIL)], ids=["equal", "worse"])
def test_the_verdict_rests_on_what_a_prometheus_has_scraped(tmp_path: Path, failing: int, expected: Result) -> None:
    replicas = {PODS[0]: server("1"), PODS[1]: server("2")}
    is_answered = False

    def sleep(_seconds: float) -> None:
        nonlocal is_answered
        if not is_answered:
            for name, each in replicas.items():
                for number in range(3000):
                    is_failed = name == PODS[1] and number < failing
                    each.answered("/predict", 500 if is_failed else 200, 0.004, 1)
        is_answered = True
        time.sleep(2)

    with (
        published(replicas) as address,
        container(tmp_path, PROMETHEUS, scraping(address, *PODS), "--storage.tsdb.path=/tmp/data") as url,
    ):
        time.sleep(3)  # what was counted before the first scrape does not belong to the step
        texts = of_prometheus(url, "cells")
        found = await_verdict(step_of(STEP), RevisionHashes(STABLE, CANDIDATE), texts, clock=Clock(sleep=sleep))
    assert found.result is expected, found.reason
    assert found.counted is not None
    assert found.counted.stable.requests == found.counted.candidate.requests == 3000
    assert found.counted.candidate.errors == failing

"""A real router process under a steady load, before replicas that fail in every way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.unit.serving import bundles
from tests.unit.serving.router.stubs import Replica
from winnow.routing import Route, RouterReport, RouterSettings, to_json

RATE_PER_S = 100
TOKEN = "a secret"
ROW = b'{"rows": [[1, 2, 3]]}'


@dataclass(frozen=True)
class Process:
    """A process that serves, and its ports."""

    process: subprocess.Popen[bytes]
    port: int
    control_port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def report(self) -> RouterReport:
        answer = httpx.post(
            f"http://127.0.0.1:{self.control_port}/renew", headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
        )
        assert answer.status_code == 200
        return msgspec.json.decode(answer.content, type=RouterReport)


@contextmanager
def started(place: Path, arguments: Sequence[str], **environment: str) -> Iterator[Process]:
    ready = place.with_suffix(".ready")
    argv = [sys.executable, "-m", *arguments, "--ready-file", str(ready), "--settle-s", "0.3"]
    process = subprocess.Popen(argv, env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + 30
        while not ready.is_file():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found = json.loads(ready.read_text())
        yield Process(process, found["port"], found.get("control_port", 0))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


@contextmanager
def routing(place: Path, stable: Sequence[str], candidate: Sequence[str], weight: float = 0.5) -> Iterator[Process]:
    route = Route(serial=3, stable=1, candidate=2, weight=weight, lease_s=60.0)
    settings = RouterSettings("cells", route, tuple(stable), tuple(candidate), is_classifier=True)
    environment = {"WINNOW_ROUTER": to_json(settings), "WINNOW_ROUTER_TOKEN": TOKEN}
    with started(place / "router", ["winnow.serving.router"], **environment) as router:
        yield router


async def load(port: int, seconds: float, at_half: object = None) -> Counter[tuple[int, str]]:
    """Send requests at a steady rate, however long answers take; count their statuses and revisions."""
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False)
    found: Counter[tuple[int, str]] = Counter()

    async def one() -> None:
        try:
            answer = await client.post("/predict", content=ROW, headers={"content-type": "application/json"})
            found[answer.status_code, answer.headers["x-winnow-revision"]] += 1
        except httpx.HTTPError as error:
            found[0, repr(error)] += 1

    async with client, asyncio.TaskGroup() as tasks:
        started_at = time.monotonic()
        for index in range(int(RATE_PER_S * seconds)):
            await asyncio.sleep(started_at + index / RATE_PER_S - time.monotonic())
            tasks.create_task(one())
            if index == int(RATE_PER_S * seconds / 2) and callable(at_half):
                at_half()
    return found


@contextmanager
def answering(*replicas: Replica) -> Iterator[None]:
    """Run replicas on a thread of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for replica in replicas:
            asyncio.run_coroutine_threadsafe(replica.start(), loop).result(10)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(_end(replicas), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(replicas: Sequence[Replica]) -> None:
    for replica in replicas:
        replica.stop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.parametrize("behaviour", ["reset", "hang", "slow"])
def test_a_failing_candidate_costs_no_request_at_a_steady_load(behaviour: str, tmp_path: Path) -> None:
    stable, candidate = Replica("old", "slow"), Replica("new", "slow")
    stable.slow_s = candidate.slow_s = 0.004

    def fail() -> None:
        candidate.behaviour, candidate.slow_s = behaviour, 5 * stable.slow_s

    with answering(stable, candidate), routing(tmp_path, [stable.address], [candidate.address]) as router:
        found = asyncio.run(load(router.port, 2.0, fail))
        report = router.report()
    assert {status for status, _ in found} == {200}
    assert found.total() == report.stable.requests + report.candidate.requests == 200
    assert report.candidate.requests == 100
    assert (report.misses >= 45) == (behaviour != "slow")


def test_a_candidate_that_is_killed_costs_no_request_at_a_steady_load(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    arguments = ["winnow.serving", "--bundle", str(bundle)]
    with (
        started(tmp_path / "stable", arguments) as stable,
        started(tmp_path / "candidate", arguments) as candidate,
        routing(tmp_path, [stable.address], [candidate.address]) as router,
    ):
        found = asyncio.run(load(router.port, 2.0, candidate.process.kill))
        assert {status for status, _ in found} == {200}
        assert found[200, "2"] >= 40
        assert router.report().misses >= 45


def test_a_stopping_router_loses_no_request_of_clients_that_come_back(tmp_path: Path) -> None:
    """As at a change of the route: another router takes over, while the first one still answers for the settle time."""
    bundle = bundles.classification(tmp_path / "bundle")
    with (
        started(tmp_path / "stable", ["winnow.serving", "--bundle", str(bundle)]) as stable,
        routing(tmp_path, [stable.address], [stable.address]) as router,
    ):
        found = asyncio.run(load(router.port, 0.4, lambda: router.process.send_signal(signal.SIGTERM)))
        assert {status for status, _ in found} == {200}
        assert router.process.wait(10) == 0


def test_a_router_listens_once_stable_is_ready_and_only_the_token_renews(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    with (
        started(tmp_path / "stable", ["winnow.serving", "--bundle", str(bundle)]) as stable,
        routing(tmp_path, [stable.address], [stable.address]) as router,
    ):
        control = f"http://127.0.0.1:{router.control_port}"
        assert httpx.get(f"http://{router.address}/readyz").json() == {"ready": True}
        assert httpx.get(f"{control}/readyz").json() == {"ready": True}
        assert httpx.post(f"{control}/renew").status_code == 401
        assert httpx.post(f"{control}/renew", headers={"authorization": "Bearer other"}).status_code == 401
        assert httpx.get(f"{control}/renew").status_code == 405
        assert httpx.post(f"{control}/report").status_code == 401
        assert httpx.get(f"{control}/").status_code == 404
        assert router.report().serial == 3
        metrics = httpx.get(f"{control}/metrics").text
        assert 'winnow_router_requests_total{role="stable",revision="1"} 0' in metrics

"""An A/B test on a cluster: replicas log to standard output, and `kubectl logs` stands for the collector."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docker.champions import Winnow
from tests.e2e.outcomes import batch
from tests.kubernetes.places import Place
from tests.kubernetes.serving import SERVING, Site
from winnow.platforms.kubernetes.revision_plan import CONTAINER
from winnow.platforms.labels import DEPLOYMENT, ROLE

pytestmark = pytest.mark.kubernetes

TIER = ("--platform", "kubernetes", "--replicas", "1")
MOST_REQUESTS = 4000


@pytest.fixture
def winnow(tmp_path: Path, shared_place: Place) -> Iterator[Winnow]:
    made = Winnow(tmp_path, Site(shared_place, "").environment())
    yield made
    Site(shared_place, made.name).close()
    made.forget()


def collect(winnow: Winnow, place: Place, log: Path) -> None:
    """Write what the replicas have logged so far."""
    chosen = f"--selector={DEPLOYMENT}={winnow.name},{ROLE}!=router"
    lines = place.admin("logs", chosen, "--container", CONTAINER, "--tail=-1", "--max-log-requests=10")
    part = log.with_suffix(".part")
    part.write_text(lines)
    part.replace(log)


def test_the_version_with_the_better_outcomes_is_promoted(winnow: Winnow, shared_place: Place, tmp_path: Path) -> None:
    log = tmp_path / "collected" / "log.jsonl"
    log.parent.mkdir()
    rollout = {
        "strategy": "ab",
        "metric": "accuracy",
        "min_effect": 0.05,
        "max_duration": "150s",
        "outcomes": str(log.parent),
        "step_duration_seconds": 2,
        "conditions": ["errors"],
        "routers": 1,
    }
    winnow.serve_as({**SERVING, "log": {"to": "stdout"}, "rollout": rollout})
    winnow.crown(0)
    first = winnow.run("prod", *TIER)
    assert first.returncode == 0, first.stderr
    winnow.crown(1)
    url, host, rng, sent = os.environ["WINNOW_INGRESS_URL"], f"{winnow.name}.localhost", random.Random(0), 0
    with ThreadPoolExecutor(1) as thread:
        driver = thread.submit(winnow.run, "prod", *TIER)
        while not driver.done() and json.loads(status(winnow) or "{}").get("state") != "running":
            time.sleep(1)
        while not driver.done() and sent < MOST_REQUESTS:
            sent += batch(url, rng, {"1": 0.8, "2": 0.97}, host)
            collect(winnow, shared_place, log)
        assert driver.result().returncode == 0, driver.result().stderr
    found = json.loads(status(winnow))
    assert (found["state"], found["candidate"]["version"]) == ("promoted", "2"), found
    assert found["reason"].startswith("the candidate wins: accuracy is 0.")


def status(winnow: Winnow) -> str:
    return winnow.run("rollout-status", "--json").stdout

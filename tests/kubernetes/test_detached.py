"""A rollout that a Job drives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.champions import ROOT, Winnow
from tests.kubernetes.places import Place
from tests.kubernetes.pods import until
from tests.kubernetes.serving import SERVING, Site

pytestmark = pytest.mark.kubernetes

TIER = ("--platform", "kubernetes")
CANARY = {
    "strategy": "canary",
    "initial_weight": 0.25,
    "weight_steps": [0.5, 1.0],
    "step_duration_seconds": 12,  # so long that a busy machine kills the pod in time
    "conditions": [],
}


@pytest.fixture
def winnow(tmp_path: Path, shared_place: Place) -> Iterator[Winnow]:
    made = Winnow(tmp_path, Site(shared_place, "").environment(), {**SERVING, "rollout": CANARY})
    yield made
    shared_place.admin("delete", "job", f"winnow-prod-{made.name}-driver", "--ignore-not-found", "--wait=false")
    Site(shared_place, made.name).close()
    made.forget()


@pytest.mark.usefixtures("train_image")
def test_a_job_goes_on_with_a_canary_though_its_pod_is_killed(winnow: Winnow, shared_place: Place) -> None:
    admin, job = shared_place.admin, f"winnow-prod-{winnow.name}-driver"
    admin("apply", "--filename", str(ROOT / "k8s" / "role.yaml"), "--filename", str(ROOT / "k8s" / "driver.yaml"))
    winnow.crown(0)
    assert winnow.run("prod", *TIER, "--replicas", "1").returncode == 0
    winnow.crown(1)
    left = winnow.run("prod", *TIER, "--replicas", "1", "--detach")
    assert f"Job {job} goes on with the rollout of {winnow.name}." in left.stdout, left.stderr
    chosen = f"--selector=batch.kubernetes.io/job-name={job}"
    (pod,) = admin.names("pods", chosen)
    assert f"driven by pod {pod.removeprefix('pod/')}" in winnow.run("rollout-status", *TIER).stdout
    admin("delete", pod, "--force", "--grace-period=0")
    until(lambda: "promoted: all 2 steps passed" in winnow.run("rollout-status", *TIER).stdout, 120)
    admin("wait", "--for=condition=Complete", f"job/{job}", "--timeout=60s")

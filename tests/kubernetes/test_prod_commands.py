"""The commands that serve, on a cluster: from a registered champion to a prediction through the Ingress."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml

from tests.docker.champions import Winnow
from tests.kubernetes.places import Place
from tests.kubernetes.serving import SERVING, Site
from winnow.platforms.labels import DEPLOYMENT, ROLE

pytestmark = pytest.mark.kubernetes

Done: TypeAlias = subprocess.CompletedProcess[str]

TIER = ("--platform", "kubernetes")
DIFF = ("diff", "--part", "prod", "--exit-code")


@pytest.fixture
def winnow(tmp_path: Path, shared_place: Place) -> Iterator[Winnow]:
    site = Site(shared_place, "")
    made = Winnow(tmp_path, site.environment(), SERVING)
    yield made
    Site(shared_place, made.name).close()
    made.forget()


def objects(winnow: Winnow, place: Place) -> list[str]:
    kinds = "deployment,service,ingress,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,secret,lease"
    return place.admin.names(kinds, f"--selector={DEPLOYMENT}={winnow.name}")


def test_a_champion_is_served_asked_changed_rolled_back_and_removed(
    winnow: Winnow, shared_place: Place, tmp_path: Path
) -> None:
    winnow.crown(0)
    planned, differs = together(
        lambda: winnow.run("prod", *TIER, "--replicas", "1", "--dry-run"), lambda: winnow.run(*DIFF, "--replicas", "1")
    )
    assert {each["kind"] for each in yaml.safe_load_all(planned.stdout)} == {
        *("Deployment", "Service", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"),
    }, planned.stderr
    assert differs.returncode == 1, differs.stderr
    assert f"+++ deployments/winnow-prod-{winnow.name}-1 (planned)" in differs.stdout
    assert objects(winnow, shared_place) == []
    served = winnow.run("prod", *TIER, "--replicas", "1")
    assert served.returncode == 0, served.stderr
    assert f"http://{winnow.name}.localhost" in served.stdout
    assert len(objects(winnow, shared_place)) == 7

    # Another home, as another person's: the cluster says itself what it serves.
    elsewhere = {"WINNOW_HOME": str(tmp_path / "elsewhere")}
    same, more, again, asked = together(
        lambda: winnow.run(*DIFF),
        lambda: winnow.run(*DIFF, "--replicas", "2"),
        lambda: winnow.run("prod", *TIER),
        lambda: winnow.run("inference-one", "--json", **elsewhere),
    )
    assert (same.returncode, same.stdout) == (0, ""), same.stdout
    assert "-  minReplicas: 1\n+  minReplicas: 2\n" in more.stdout
    assert "nothing was changed" in again.stdout
    assert json.loads(asked.stdout)["model"]["version"] == "1", asked.stderr
    winnow.crown(1)
    assert winnow.run("prod", *TIER).returncode == 0
    assert json.loads(winnow.run("inference-one", "--json").stdout)["model"]["version"] == "2"
    back = winnow.run("rollback", **elsewhere)
    assert back.returncode == 0, back.stderr
    rows = json.loads(winnow.run("prod-status", *TIER, "--json", **elsewhere).stdout)
    (status,) = [each for each in rows if each["name"] == winnow.name]
    assert (status["platform"], status["state"], status["traffic"]) == ("kubernetes", "ready", {"1": 1.0})
    removed = winnow.run("prod-remove", **elsewhere)
    assert "no longer served" in removed.stdout, removed.stderr
    assert objects(winnow, shared_place) == []
    assert winnow.run("inference-one").returncode == 2


def together(*runs: Callable[[], Done]) -> list[Done]:
    """What commands that change nothing say, asked at once: most of each is spent on loading code, and on waiting."""
    with ThreadPoolExecutor(len(runs)) as pool:
        return [each.result() for each in [pool.submit(run) for run in runs]]


def test_a_champion_that_does_not_start_ends_with_an_error_and_leaves_nothing(
    winnow: Winnow, shared_place: Place
) -> None:
    winnow.crown(0)
    # More than any model fits into is asked of a replica that may have next to nothing.
    winnow.serve_as({**SERVING, "resources": {**SERVING["resources"], "memory": "16Mi", "memory_request": "16Mi"}})
    failed = winnow.run("prod", *TIER)
    assert failed.returncode == 1
    assert "nothing is being served" in failed.stderr and "Traceback" not in failed.stderr
    assert objects(winnow, shared_place) == []


def test_routers_run_an_image_of_their_own(winnow: Winnow, shared_place: Place) -> None:
    winnow.crown(0)
    first = winnow.run("prod", *TIER, "--replicas", "1")
    assert first.returncode == 0, first.stderr
    # Without requests the first step has no verdict, so it pauses.
    steps = {"initial_weight": 0.5, "weight_steps": [1.0], "step_duration_seconds": 1, "max_step_duration_seconds": 1}
    winnow.serve_as({**SERVING, "rollout": {"strategy": "canary", **steps}})
    winnow.crown(1)
    paused = winnow.run("prod", *TIER, "--replicas", "1")
    chosen = f"--selector={DEPLOYMENT}={winnow.name},{ROLE}=router"
    found = shared_place.admin.json("get", "deployments", chosen)["items"]
    images = {each["spec"]["template"]["spec"]["containers"][0]["image"] for each in found}
    assert [image.partition("@")[0].rpartition("/")[2] for image in images] == ["winnow-router"], paused.stderr


def test_without_a_cluster_or_a_way_for_images_nothing_is_begun(winnow: Winnow, tmp_path: Path) -> None:
    winnow.crown(0)
    away, stuck = together(
        lambda: winnow.run("prod", *TIER, KUBECONFIG=str(tmp_path / "nowhere")),
        lambda: winnow.run("prod", *TIER, WINNOW_REGISTRY="", WINNOW_IMAGE_LOAD=""),
    )
    assert away.returncode == 2 and "kubeconfig" in away.stderr, away.stderr
    assert stuck.returncode == 2 and "REGISTRY=" in stuck.stderr and "IMAGE_LOAD=" in stuck.stderr

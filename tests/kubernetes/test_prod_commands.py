"""The commands that serve, on a cluster: from a registered champion to a prediction through the Ingress."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.docker.champions import Winnow
from tests.kubernetes.places import Place
from tests.kubernetes.serving import Site
from winnow.containers.engine import DEPLOYMENT

pytestmark = pytest.mark.kubernetes

TIER = ("--target", "kubernetes")
DIFF = ("diff", "--part", "prod", "--exit-code")


@pytest.fixture
def winnow(tmp_path: Path, shared_place: Place) -> Iterator[Winnow]:
    site = Site(shared_place, "")
    made = Winnow(tmp_path, site.environment())
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
    planned = winnow.run("prod", *TIER, "--replicas", "1", "--dry-run")
    assert {each["kind"] for each in yaml.safe_load_all(planned.stdout)} == {
        *("Deployment", "Service", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler"),
    }, planned.stderr
    differs = winnow.run(*DIFF, "--replicas", "1")
    assert differs.returncode == 1, differs.stderr
    assert f"+++ deployments/winnow-prod-{winnow.name} (as it would be)" in differs.stdout
    assert objects(winnow, shared_place) == []
    served = winnow.run("prod", *TIER, "--replicas", "1")
    assert served.returncode == 0, served.stderr
    same = winnow.run(*DIFF)
    assert (same.returncode, same.stdout) == (0, ""), same.stdout
    assert "-  minReplicas: 1\n+  minReplicas: 2\n" in winnow.run(*DIFF, "--replicas", "2").stdout
    assert f"http://{winnow.name}.localhost" in served.stdout
    assert len(objects(winnow, shared_place)) == 6
    assert "nothing was changed" in winnow.run("prod", *TIER).stdout

    # Another home, as another person's: the cluster says itself what it serves.
    elsewhere = {"WINNOW_HOME": str(tmp_path / "elsewhere")}
    asked = winnow.run("inference-one", "--json", **elsewhere)
    assert json.loads(asked.stdout)["model"]["version"] == "1", asked.stderr
    winnow.crown(1)
    assert winnow.run("prod", *TIER).returncode == 0
    assert json.loads(winnow.run("inference-one", "--json").stdout)["model"]["version"] == "2"
    back = winnow.run("rollback", **elsewhere)
    assert back.returncode == 0, back.stderr
    (status,) = [
        each
        for each in json.loads(winnow.run("prod-status", *TIER, "--json", **elsewhere).stdout)
        if each["name"] == winnow.name
    ]
    assert (status["target"], status["state"], status["traffic"]) == ("kubernetes", "ready", {"1": 1.0})
    removed = winnow.run("prod-remove", **elsewhere)
    assert "no longer served" in removed.stdout, removed.stderr
    assert objects(winnow, shared_place) == []
    assert winnow.run("inference-one").returncode == 2


def test_a_champion_that_does_not_start_ends_with_an_error_and_leaves_nothing(
    winnow: Winnow, shared_place: Place
) -> None:
    winnow.crown(0)
    # More than any model fits into is asked of a replica that may have next to nothing.
    failed = winnow.run("prod", *TIER, WINNOW_REPLICA_MEMORY="16Mi")
    assert failed.returncode == 1
    assert "nothing is being served" in failed.stderr and "Traceback" not in failed.stderr
    assert objects(winnow, shared_place) == []


def test_without_a_cluster_or_a_way_for_images_nothing_is_begun(winnow: Winnow, tmp_path: Path) -> None:
    winnow.crown(0)
    away = winnow.run("prod", *TIER, KUBECONFIG=str(tmp_path / "nowhere"))
    assert away.returncode == 2 and "kubeconfig" in away.stderr, away.stderr
    stuck = winnow.run("prod", *TIER, WINNOW_REGISTRY="", WINNOW_IMAGE_LOAD="")
    assert stuck.returncode == 2 and "REGISTRY=" in stuck.stderr and "IMAGE_LOAD=" in stuck.stderr

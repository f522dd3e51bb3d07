"""The commands that serve, on Docker: from a registered champion to a prediction, and the errors on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.docker import serving_images
from tests.docker.champions import Winnow
from winnow.platforms.docker.client import connect
from winnow.serving.client import card

pytestmark = pytest.mark.docker


@pytest.fixture
def winnow(tmp_path: Path) -> Iterator[Winnow]:
    made = Winnow(tmp_path)
    yield made
    serving_images.remove_deployment(made.name)
    made.run("prod-remove", "--platform", "local")
    made.forget()


def test_a_champion_is_served_found_and_removed(winnow: Winnow, tmp_path: Path) -> None:
    winnow.crown(0)
    planned = winnow.run("prod", "--platform", "docker", "--replicas", "2", "--dry-run")
    assert "docker run" in planned.stdout and "IMAGE-TO-BE-BUILT" in planned.stdout, planned.stderr
    assert winnow.containers() == 0
    served = winnow.run("prod", "--platform", "docker", "--replicas", "2")
    assert served.returncode == 0, served.stderr
    assert winnow.containers() == 3
    again = winnow.run("prod", "--platform", "docker", "--replicas", "2")
    assert "nothing was changed" in again.stdout, again.stderr

    # Another home, as another person's: the tier says itself what it serves.
    elsewhere = {"WINNOW_HOME": str(tmp_path / "elsewhere")}
    asked = winnow.run("inference-one", "--json", **elsewhere)
    assert json.loads(asked.stdout)["model"]["version"] == "1", asked.stderr
    winnow.crown(1)
    (status,) = json.loads(winnow.run("prod-status", "--json", **elsewhere).stdout)
    assert (status["platform"], status["state"], status["traffic"], status["champion"]) == (
        *("docker", "ready", {"1": 1.0}, "2"),
    )
    assert len(status["replicas"]) == 2
    tags = MlflowClient(winnow.uri).get_model_version(winnow.name, "1").tags
    assert card(status["url"])["sbom_sha256"] == tags["winnow.sbom.sha256"]

    assert winnow.run("prod", "--platform", "local").returncode == 0
    torn = winnow.run("inference-one")
    assert torn.returncode == 2 and f"(local), {winnow.name} (docker)" in torn.stderr
    assert "2" in winnow.run("inference-one", "--platform", "local").stdout
    assert winnow.run("prod-remove", "--platform", "local").returncode == 0

    removed = winnow.run("prod-remove", **elsewhere)
    assert "no longer served" in removed.stdout and "images stay" in removed.stdout, removed.stderr
    assert winnow.containers() == 0
    assert winnow.run("inference-one").returncode == 2


def test_without_a_champion_or_a_model_or_an_engine_nothing_is_changed(winnow: Winnow) -> None:
    nobody = winnow.run("prod", "--platform", "docker")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert "select-model" in nobody.stderr
    winnow.crown(0)
    away = winnow.run("prod", "--platform", "docker", DOCKER_HOST=f"unix://{winnow.home}/nobody.sock")
    assert away.returncode == 2 and "Docker engine" in away.stderr and "Traceback" not in away.stderr
    shutil.rmtree(winnow.home / "artifacts")
    empty = winnow.run("prod", "--platform", "docker")
    assert empty.returncode == 2 and "Traceback" not in empty.stderr, empty.stderr
    assert winnow.containers() == 0
    assert winnow.run("prod-status", DOCKER_HOST=f"unix://{winnow.home}/nobody.sock").returncode == 2


def test_a_deployment_that_has_lost_its_entry_is_removed(winnow: Winnow) -> None:
    winnow.crown(0)
    assert winnow.run("prod", "--platform", "docker").returncode == 0
    connect().containers.get(f"winnow-prod-{winnow.name}-proxy").remove(force=True)
    removed = winnow.run("prod-remove")
    assert "no longer served" in removed.stdout, removed.stderr
    assert winnow.containers() == 0
    assert winnow.run("prod-remove").stdout.startswith(f"Nothing was removed: {winnow.name} is not being served ")

"""What is planned for a platform that is not there, and which facts the plan says it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.config.errors import InputError, UnavailableError
from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.orchestrators.preflight import sweep_platform
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.orchestrators.train import plan
from winnow.platforms.docker.train_image import image_name
from winnow.platforms.lookup import Lookup
from winnow.platforms.processors import usable_cpus

IMAGE = image_name(None, Path.cwd())


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment with neither an engine nor a cluster nor a stack."""
    nowhere = {"DOCKER_HOST": "tcp://127.0.0.1:1", "KUBECONFIG": str(tmp_path / "none")}
    return {**nowhere, "WINNOW_HOME": str(tmp_path / "home")}


def request(platform: str, **changes: Any) -> SweepRequest:
    whole: dict[str, Any] = {
        "name": "cells",
        "data": {"source": "sklearn:iris"},
        "model": {"factory": "winnow.models:mlp"},
        "search": {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}},
        "execution": {"workers": 2},
    }
    return SweepRequest(Experiment.model_validate({**whole, **changes}), platform=platform)


def test_containers_are_planned_without_an_engine(offline: dict[str, str]) -> None:
    lookup = Lookup(is_optional=True)
    lines = plan(request("docker"), Settings.from_environment(offline), lookup, offline)
    assert [fact.partition(" (")[0] for fact in lookup.unknown] == [
        "the addresses of MLflow and of the studies' database",
        f"the Docker host's CPUs, so workers share this machine's {usable_cpus()}",
        f"the id of the image {IMAGE}, and whether it holds the code of this folder",
    ]
    assert [line.partition(" --hostname")[0] for line in lines] == [
        "docker run --detach --name winnow-cells-c0-0",
        "docker run --detach --name winnow-cells-c1-0",
    ]
    for line in lines:
        assert f" {IMAGE} " in line
        assert "--env MLFLOW_TRACKING_URI=http://MLFLOW " in line


def test_pods_are_planned_without_a_cluster_and_an_engine(offline: dict[str, str]) -> None:
    lookup = Lookup(is_optional=True)
    lines = plan(request("kubernetes"), Settings.from_environment(offline), lookup, offline)
    assert [fact.partition(" (")[0] for fact in lookup.unknown] == [
        "the addresses of MLflow and of the studies' database",
        "whether the cluster permits a sweep and its namespace takes the manifests",
        "whether there is an image winnow-train with the code of this folder",
    ]
    manifests = [(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all("\n".join(lines))]
    assert manifests == [(kind, f"winnow-train-cells-{group}") for group in ("p0", "p1") for kind in ("Secret", "Job")]


def test_addresses_that_are_set_are_not_replaced(offline: dict[str, str]) -> None:
    stores = {"MLFLOW_TRACKING_URI": "http://mlflow.example", "WINNOW_STORAGE": "postgresql://db.example/studies"}
    lookup = Lookup(is_optional=True)
    lines = plan(request("docker"), Settings.from_environment({**offline, **stores}), lookup, offline)
    assert all("WINNOW_STORAGE=postgresql://db.example/studies " in line for line in lines)
    assert not any("addresses" in fact for fact in lookup.unknown)


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_mistakes_in_the_file_are_refused_without_the_platform_too(platform: str, offline: dict[str, str]) -> None:
    wrong = request(platform, model={"factory": "../net.py:build"})
    with pytest.raises(InputError, match=r"model\.factory"):
        plan(wrong, Settings.from_environment(offline), Lookup(is_optional=True), offline)


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_a_sweep_does_not_start_without_its_platform(platform: str, offline: dict[str, str]) -> None:
    stores = {"MLFLOW_TRACKING_URI": "http://mlflow.example", "WINNOW_STORAGE": "postgresql://db.example/studies"}
    with pytest.raises(UnavailableError):
        sweep_platform(request(platform), Settings.from_environment({**offline, **stores}), Lookup(), offline)

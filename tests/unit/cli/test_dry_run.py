"""What the verbs that serve and build print with `--dry-run` on a machine without an engine and without a cluster."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.tracking import made_up
from winnow.cli import winnow
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry

UNSET = {name: None for name in os.environ if name.startswith(("WINNOW_", "MLFLOW_", "KUBE", "DOCKER_"))}
NOW = "not looked up: what serves now, and whether the platform takes the change: it is planned as a first deployment"
IMAGE = "not looked up: whether the image is there, and its id"
BASE = (
    "not looked up: the id of the base image python:3.11-slim-bookworm, on which the image's tag depends: "
    "no Docker engine answers"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with one version of the model `cells`, which is its champion."""
    folder = tmp_path_factory.mktemp("store")
    uri = made_up.new_store(folder)
    tracker, sweep, trial = MlflowTracker(uri), made_up.sweep("cells"), made_up.trial(study="cells")
    bundle = made_up.bundle(folder / "bundle", trial)
    Registry(uri).crown(tracker.log_bundle(sweep, tracker.start_sweep(sweep), trial, bundle), "the only one")
    return uri


def shown(store: str, home: Path, *arguments: str) -> Result:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        engine = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    places = {"WINNOW_HOME": str(home), "KUBECONFIG": str(home / "none"), "DOCKER_HOST": engine}
    environment = {**UNSET, **places, "MLFLOW_TRACKING_URI": store}
    return CliRunner().invoke(winnow, [*arguments, "--dry-run"], env=environment)


@pytest.mark.parametrize(
    ("arguments", "planned", "unknown"),
    [
        (("prod", "--platform", "docker"), "IMAGE-TO-BE-BUILT --model-version 1", [NOW, IMAGE]),
        (("prod", "--platform", "kubernetes"), "kind: Deployment", [NOW, IMAGE]),
        (("build-prod",), "--tag=winnow-prod-cells:1-", [BASE]),
    ],
    ids=["docker", "kubernetes", "build"],
)
def test_a_model_is_planned_without_an_engine_or_a_cluster(
    store: str, tmp_path: Path, arguments: tuple[str, ...], planned: str, unknown: list[str]
) -> None:
    done = shown(store, tmp_path / "home", *arguments, "--study", "cells", "--version", "1")
    assert done.exit_code == 0, done.output
    assert planned in done.stdout
    assert [line for line in done.stderr.splitlines() if line.startswith("not looked up")] == unknown
    assert not (tmp_path / "home").exists()


def test_the_images_of_a_sweep_are_planned_without_an_engine(store: str, tmp_path: Path) -> None:
    done = shown(store, tmp_path / "home", "build-train")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split(" --tag=")[1].split(":")[0] for line in done.stdout.splitlines()] == [
        "winnow-tracking",
        "winnow-train",
    ]


def test_an_unknown_version_is_an_input_error(store: str, tmp_path: Path) -> None:
    done = shown(store, tmp_path / "home", "prod", "--study", "cells", "--version", "7")
    assert "expected one of its versions: 1 (1.0.0), found version '7'" in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2


def test_an_alias_and_a_version_are_not_named_together(store: str, tmp_path: Path) -> None:
    done = shown(store, tmp_path / "home", "prod", "--version", "1", "--alias", "champion")
    assert str(done.exception) == "VERSION=: expected either ALIAS= or VERSION=, found both. Leave one of them out."

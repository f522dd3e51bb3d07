"""`winnow build-prod` and `build-train` as a person meets them, on a store and an engine that are really there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from mlflow import MlflowClient

from tests.docker.conftest import ROOT
from tests.docker.stacks import clean_environment
from tests.unit.tracking import made_up
from tests.winnow_command import winnow
from winnow.platforms.docker.train_image import project_tag
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.store import prepare
from winnow.tracking.tracker import ModelVersion

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@dataclass(frozen=True)
class Home:
    """A folder with a tracking store in it, in which one model has a champion."""

    folder: Path
    champion: ModelVersion

    def winnow(self, *arguments: str) -> tuple[int, list[str], str]:
        """Exit status, lines of output and errors of a verb."""
        done = winnow(*arguments, env=clean_environment(self.folder))
        return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture
def home(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Home]:
    folder, study = tmp_path / "home", f"t{uuid.uuid4().hex[:10]}"
    folder.mkdir()
    uri = f"sqlite:///{folder}/mlflow.db"
    prepare(uri)
    tracker, sweep, trial = MlflowTracker(uri), made_up.sweep(study), made_up.trial(study=study)
    version = tracker.log_bundle(sweep, tracker.start_sweep(sweep), trial, made_up.bundle(tmp_path / "bundle", trial))
    Registry(uri).crown(version, "the only one")
    yield Home(folder, version)
    for image in engine.images.list(filters={"label": f"winnow.model.name={study}"}):
        engine.images.remove(image.id, force=True)


def test_the_champion_is_built_once_and_shown_without_being_built(home: Home, engine: docker.DockerClient) -> None:
    name = home.champion.name
    before = sorted(path.name for path in home.folder.iterdir())
    status, lines, errors = home.winnow("build-prod", "--study", name, "--dry-run")
    assert (status, lines[1].partition(" docker build ")[0]) == (0, "DOCKER_BUILDKIT=1"), errors
    assert sorted(path.name for path in home.folder.iterdir()) == before
    assert engine.images.list(name=f"winnow-prod-{name}") == []

    status, lines, errors = home.winnow("build-prod", "--study", name)
    (image,) = engine.images.list(name=f"winnow-prod-{name}")
    assert (status, lines[-1].split()[0], lines[-1].split()[-1]) == (0, image.tags[0], image.id), errors
    assert image.tags[0].startswith(f"winnow-prod-{name}:1-")
    assert image.labels["winnow.model.run"] == home.champion.run_id
    shown = engine.containers.run(image, ["/opt/venv/sbom.cdx.json"], entrypoint="sha256sum", remove=True).decode()
    client = MlflowClient(f"sqlite:///{home.folder}/mlflow.db")
    assert client.get_model_version(name, "1").tags["winnow.sbom.sha256"] == shown.split()[0]
    status, audited, errors = home.winnow("audit", "--image", image.tags[0])
    listed = next(line for line in audited if line.startswith(f"✓ software of image {image.tags[0]}: "))
    assert (status, listed.split()[-1]) == (0, shown.split()[0]), errors
    assert home.winnow("audit", "--image", "none:1")[0] == 2

    status, again, errors = home.winnow("build-prod", "--study", name)
    assert (status, again[-1]) == (0, lines[-1]), errors
    assert again[0].endswith("was already built from the same model and code.")


def test_without_a_champion_nothing_is_built(home: Home, engine: docker.DockerClient) -> None:
    before = {image.id for image in engine.images.list(name="winnow-prod-nobody")}
    status, lines, errors = home.winnow("build-prod", "--study", "nobody")
    assert (status, lines) == (2, [])
    assert "expected a version with the alias 'champion', found none. Run `" in errors and "select-model" in errors
    assert {image.id for image in engine.images.list(name="winnow-prod-nobody")} == before


def test_a_registry_that_is_away_is_one_error(home: Home) -> None:
    name = home.champion.name
    status, _lines, errors = home.winnow("build-prod", "--study", name, "--registry", "localhost:1/team")
    assert status == 1
    assert f"error: image 'localhost:1/team/winnow-prod-{name}:1-" in errors
    assert "' was not pushed. The end of the output:" in errors


def test_what_would_be_built_for_a_sweep_is_shown(home: Home) -> None:
    status, lines, errors = home.winnow("build-train", "--dry-run", "--extras", "gcs, azure", "--registry", "r.example")
    assert status == 0, errors
    assert [line.split()[0] for line in lines] == ["DOCKER_BUILDKIT=1", "docker", "DOCKER_BUILDKIT=1", "docker"]
    tag = project_tag(ROOT)
    assert f"--target=tracking --tag=winnow-tracking:{tag} --tag=r.example/winnow-tracking:{tag}" in lines[0]
    assert "--build-arg=EXTRAS=gcs,azure" in lines[0]
    assert lines[3] == f"docker push r.example/winnow-train:{tag}"


def test_an_unknown_extra_is_refused_before_anything_is_built(home: Home) -> None:
    status, lines, errors = home.winnow("build-train", "--extras", "oracle")
    assert (status, lines) == (2, [])
    assert "--extras: expected extras of pyproject.toml" in errors

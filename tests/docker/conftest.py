"""What the Docker tests share for a session. Without an engine they fail: who asks for them has one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.docker.stacks import RunningStack, running_stack
from tests.engine import build_options, engine
from winnow.platforms.docker import build
from winnow.platforms.docker import train_image as images
from winnow.platforms.images import BuildOptions, TrainImagesRequest

pytest.register_assert_rewrite("tests.remote_sweeps")

__all__ = ["build_options", "engine"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def train_image(engine: docker.DockerClient, build_options: BuildOptions) -> str:
    """The workers' image, built from this code as `make build-train` builds it."""
    return build.build(images.plan(TrainImagesRequest(ROOT, build_options), "train"))


@pytest.fixture(scope="session")
def tracking_image(engine: docker.DockerClient, build_options: BuildOptions) -> str:
    """The MLflow server's image."""
    return build.build(images.plan(TrainImagesRequest(ROOT, build_options), "tracking"))


@pytest.fixture(scope="session")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that is up, for tests that leave it as they find it."""
    with running_stack(engine, tmp_path_factory.mktemp("stack")) as running:
        yield running

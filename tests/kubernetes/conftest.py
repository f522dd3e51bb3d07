"""What the Kubernetes tests share for a session. Without a cluster they fail: who asks for them has one.

A namespace is made once; tests that need one of their own (a quota, no stack) enter `places.place` themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.engine import build_options, engine
from tests.kubernetes.places import ROOT, Place, place
from tests.winnow_command import winnow
from winnow.platforms.docker import build
from winnow.platforms.docker import train_image as images
from winnow.platforms.docker.delivery import deliver
from winnow.platforms.images import BuildOptions, ImageRoute, TrainImagesRequest
from winnow.platforms.kubernetes.client import Cluster

pytest.register_assert_rewrite("tests.remote_sweeps")

__all__ = ["build_options", "engine"]

INGRESS_URL = "WINNOW_INGRESS_URL"
"""Environment variable: where the cluster's Ingress is reached from here."""


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace that tests share, each with names or labels of its own."""
    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture
def own_place(tmp_path: Path) -> Iterator[Place]:
    """A namespace for one test alone; it costs a second or two."""
    with place(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def cluster(shared_place: Place) -> Cluster:
    """The shared namespace, as the least-privileged person reaches it."""
    return shared_place.cluster()


@pytest.fixture(scope="session")
def ingress_url() -> str:
    """Where the cluster's Ingress answers, without a slash at the end."""
    assert os.environ.get(INGRESS_URL), f"these tests need {INGRESS_URL}: the address of the cluster's Ingress"
    return os.environ[INGRESS_URL].rstrip("/")


@pytest.fixture(scope="session")
def route(shared_place: Place) -> ImageRoute:
    """How images get to the cluster from here; a way is needed (WINNOW_REGISTRY, or WINNOW_IMAGE_LOAD)."""
    return ImageRoute.from_environment(shared_place.environment, cluster="tests", home=shared_place.home)


@pytest.fixture(scope="session")
def train_image(engine: docker.DockerClient, build_options: BuildOptions, route: ImageRoute) -> str:
    """The workers' image, built from this code as `make build-train` builds it, as the cluster's nodes find it."""
    return _delivered(engine, "train", build_options, route)


@pytest.fixture(scope="session")
def tracking_image(engine: docker.DockerClient, build_options: BuildOptions, route: ImageRoute) -> str:
    """The MLflow server's image, as the cluster's nodes find it."""
    return _delivered(engine, "tracking", build_options, route)


@pytest.fixture(scope="session")
def stack(shared_place: Place, tracking_image: str) -> Place:
    """The shared namespace with a stack in use; it goes with the namespace."""
    done = winnow("mlflow-init", "--platform", "kubernetes", env=shared_place.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return shared_place


def _delivered(engine: docker.DockerClient, target: images.Target, options: BuildOptions, route: ImageRoute) -> str:
    plan = images.plan(TrainImagesRequest(ROOT, options), target)
    return deliver(engine, build.build(plan), plan.tags[0], route)

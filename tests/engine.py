"""The engine that images are built on, for the tests of every tier that needs one; without it they fail."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from winnow.platforms.docker.client import connect
from winnow.platforms.images import TRAIN_BASE, BuildOptions


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client that tests share."""
    client = connect()
    yield client
    client.close()


@pytest.fixture(scope="session")
def build_options() -> BuildOptions:
    """How images are built on this machine (a network, an index of one's own), for both kinds."""
    return BuildOptions.from_environment(base=TRAIN_BASE)

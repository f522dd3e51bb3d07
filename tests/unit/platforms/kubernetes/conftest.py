"""An API for each test, and the connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.platforms.kubernetes.api_server import FakeApi, cluster_of, running
from winnow.platforms.kubernetes.client import Cluster


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running() as listening:
        yield listening


@pytest.fixture
def cluster(api: FakeApi, tmp_path: Path) -> Cluster:
    return cluster_of(api, tmp_path)

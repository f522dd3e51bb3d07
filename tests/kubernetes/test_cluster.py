"""The connection to a cluster, on a real one: objects, watches, logs, permissions, ports of pods."""

from __future__ import annotations

import pytest

from tests.kubernetes.places import Place
from winnow.cluster.api import Cluster
from winnow.cluster.kinds import CONFIG_MAP

pytestmark = pytest.mark.kubernetes


def config_map(name: str, **data: str) -> dict[str, object]:
    """A small object."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"winnow.test": name}},
        "data": data,
    }


def test_an_applied_object_is_found_by_its_labels(cluster: Cluster) -> None:
    cluster.apply(config_map("found", key="1"))
    assert [each["data"] for each in cluster.find(CONFIG_MAP, {"winnow.test": "found"}).items] == [{"key": "1"}]


def test_nothing_beside_the_role_is_allowed(shared_place: Place) -> None:
    cluster = shared_place.cluster()
    assert cluster.is_allowed("get", CONFIG_MAP)
    assert not cluster.is_allowed("update", CONFIG_MAP)

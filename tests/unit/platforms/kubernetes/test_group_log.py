"""A node's log, followed over what fails on the way to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from winnow.config.errors import UnreachableError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.group_log import followed
from winnow.platforms.kubernetes.group_state import Pod, read_pod
from winnow.platforms.kubernetes.refusals import ClusterError


def pod(phase: str = "Running") -> Pod:
    labels = {"winnow.study": "a-study", "winnow.group": "p0"}
    metadata = {"name": "a-pod", "uid": "pod", "labels": labels, "creationTimestamp": "2026-01-01T00:00:01Z"}
    status = {"phase": phase, "containerStatuses": [{"name": "worker", "state": {"running": {}}}]}
    return read_pod({"metadata": metadata, "status": status})


class Said(list[str]):
    """A log as far as it is there; an error in its place is raised."""

    def close(self) -> None:
        pass


class Logs(Cluster):
    """A cluster of which there are only logs, one for each time that one is asked for."""

    def __init__(self, *logs: list[str] | Exception) -> None:
        self._logs = list(logs)

    def log(self, pod: str, container: str, **_: Any) -> Any:
        said = self._logs.pop(0)
        if isinstance(said, Exception):
            raise said
        return Said(said)


def observing(*found: tuple[list[Pod], bool] | Exception) -> Callable[[], tuple[list[Pod], bool]]:
    """What is seen one after another, the last for ever."""
    left = list(found)

    def observe() -> tuple[list[Pod], bool]:
        seen = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(seen, Exception):
            raise seen
        return seen

    return observe


def test_a_log_goes_on_after_the_cluster_or_a_pods_machine_was_away() -> None:
    cluster = Logs(["1 one"], ClusterError("its machine is away"), ["1 one", "2 two"])
    observe = observing(([pod()], False), UnreachableError("away"), ([pod()], False), ([pod("Failed")], True))
    assert list(followed(cluster, 0, 1, observe)) == ["one", "two"]


def test_a_cluster_that_stays_away_ends_a_log_that_is_followed() -> None:
    began_at = time.monotonic()
    with pytest.raises(UnreachableError, match="away"):
        list(followed(Logs(), 0, 1, observing(UnreachableError("away")), away_s=0.5))
    assert time.monotonic() - began_at < 5


def test_what_cannot_be_read_of_a_group_that_is_over_is_said() -> None:
    cluster = Logs(UnreachableError("away"))
    assert list(followed(cluster, 0, 1, observing(([pod("Failed")], True)))) == ["the rest could not be read: away"]

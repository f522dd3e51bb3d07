"""A study's groups as a watch keeps them, over a cluster that says what it is told to say."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from winnow.cluster.api import Change, Listing
from winnow.cluster.kinds import EVENT, JOB, POD, Kind, Manifest
from winnow.cluster.refusals import ExpiredError
from winnow.config.errors import UnreachableError
from winnow.executors.executor import GroupState
from winnow.executors.kubernetes_state import read_job
from winnow.executors.kubernetes_watch import StudyWatch

LABELS = {"winnow.study": "a-study", "winnow.group": "p0"}


def job(uid: str = "job", **status: Any) -> Manifest:
    made = {"name": "a-job", "uid": uid, "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": {**made, "resourceVersion": "2"}, "spec": {"completions": 1}, "status": {"active": 1, **status}}


def pod(phase: str = "Running", code: int | None = None) -> Manifest:
    made = {"name": "a-pod", "uid": "pod", "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:01Z"}
    state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
    status = {"phase": phase, "containerStatuses": [{"name": "worker", "state": state}]}
    return {"metadata": {**made, "resourceVersion": "2"}, "status": status}


class Said:
    """What is watched; closed by the watch."""

    def __init__(self) -> None:
        self._changes: queue.SimpleQueue[Change | Exception | None] = queue.SimpleQueue()

    def say(self, change: Change | Exception | None) -> None:
        """None: the request ends."""
        self._changes.put(change)

    def close(self) -> None:
        self.say(None)

    def __iter__(self) -> Iterator[Change]:
        while (change := self._changes.get()) is not None:
            if isinstance(change, Exception):
                raise change
            yield change


class FakeCluster:
    """As much of `Cluster` as a watch needs."""

    def __init__(self) -> None:
        self.objects: dict[Kind, list[Manifest]] = {JOB: [], POD: [], EVENT: []}
        self.failure: Exception | None = None
        self.listed = 0
        self.watched: dict[Kind, Said] = {}
        self._began = threading.Condition()

    def find(self, kind: Kind, labels: Mapping[str, str] | str = "", *, fields: str = "") -> Listing:
        if self.failure is not None:
            raise self.failure
        self.listed += 1
        return Listing(tuple(self.objects[kind]), "1")

    def watch(self, kind: Kind, labels: Mapping[str, str] | str, resource_version: str) -> Said:
        with self._began:
            self.watched[kind] = Said()
            self._began.notify_all()
            return self.watched[kind]

    def say(self, kind: Kind, change: Change | Exception | None) -> None:
        """To the watch of this kind, once there is one."""
        with self._began:
            self._began.wait_for(lambda: kind in self.watched, 5)
            self.watched[kind].say(change)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def watch(cluster: FakeCluster) -> Iterator[StudyWatch]:
    made = StudyWatch(cluster, "a-study")  # type: ignore[arg-type]
    yield made
    made.close()


def wait_until(fact: Callable[[], bool], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.01)


def test_what_changes_is_seen_without_another_list(cluster: FakeCluster, watch: StudyWatch) -> None:
    assert watch.statuses() == {}
    cluster.say(JOB, Change("ADDED", job()))
    cluster.say(POD, Change("ADDED", pod()))
    wait_until(lambda: "p0" in watch.statuses() and len(watch.pods("p0")) == 1)
    complete = [{"type": "Complete", "status": "True"}]
    cluster.say(JOB, Change("MODIFIED", job(conditions=complete)))
    wait_until(lambda: watch.statuses()["p0"].state is GroupState.SUCCEEDED)
    cluster.say(JOB, Change("DELETED", job(conditions=complete)))
    cluster.say(POD, Change("DELETED", pod("Succeeded", 0)))
    wait_until(lambda: watch.statuses() == {} and watch.pods("p0") == [])
    assert [each.code for each in watch.last_pods("p0")] == [0]
    assert cluster.listed == 2


def test_after_a_gap_it_begins_with_a_new_list(cluster: FakeCluster, watch: StudyWatch) -> None:
    cluster.say(JOB, Change("ADDED", job()))
    wait_until(lambda: "p0" in watch.statuses())
    cluster.say(JOB, ExpiredError("too old"))
    wait_until(lambda: watch.statuses() == {})
    assert cluster.listed == 3


def test_a_cluster_that_is_silent_is_not_taken_for_an_empty_one(cluster: FakeCluster, watch: StudyWatch) -> None:
    cluster.objects[JOB] = [job()]
    cluster.failure = UnreachableError("away")
    cluster.say(JOB, UnreachableError("away"))

    def is_silent() -> bool:
        try:
            watch.statuses()
        except UnreachableError:
            return True
        return False

    wait_until(is_silent)
    cluster.failure = None
    wait_until(lambda: not is_silent())
    assert watch.statuses()["p0"].state is GroupState.RUNNING


def test_an_end_is_awaited_of_one_job_and_of_all_processes(cluster: FakeCluster, watch: StudyWatch) -> None:
    cluster.say(JOB, Change("ADDED", job()))
    cluster.say(POD, Change("ADDED", pod()))
    wait_until(lambda: "p0" in watch.statuses() and len(watch.pods("p0")) == 1)
    assert watch.await_end("p0", read_job(job()), grace_s=0.0, patience_s=0.1) is False
    cluster.say(JOB, Change("MODIFIED", job(uid="another")))
    assert watch.await_end("p0", read_job(job()), grace_s=0.0, patience_s=0.2) is False
    cluster.say(POD, Change("MODIFIED", pod("Failed", 143)))
    assert watch.await_end("p0", read_job(job()), grace_s=0.0, patience_s=5.0) is True

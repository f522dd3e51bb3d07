"""A study's groups as a watch keeps them, over a cluster that says what it is told to say."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.platforms.executor import GroupState
from winnow.platforms.kubernetes.client import Change, Listing
from winnow.platforms.kubernetes.group_state import read_job
from winnow.platforms.kubernetes.group_watch import StudyWatch
from winnow.platforms.kubernetes.kinds import EVENT, JOB, POD, Kind, Manifest
from winnow.platforms.kubernetes.refusals import ClusterError, ExpiredError

LABELS = {"winnow.study": "a-study", "winnow.group": "p0"}
CREATING = {"reason": "ContainerCreating"}


REFUSED = InputError("jobs", expected="credentials", found="403", remedy="Use others.")


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
        self.watches = 0
        self.is_at_an_end = False
        self.before_watch: Callable[[], None] = lambda: None
        self._began = threading.Condition()

    def find(self, kind: Kind, labels: Mapping[str, str] | str = "", *, fields: str = "") -> Listing:
        if self.failure is not None:
            raise self.failure
        self.listed += 1
        is_warned = "type=Warning" in fields
        return Listing(tuple(each for each in self.objects[kind] if not is_warned or each["type"] == "Warning"), "1")

    def watch(self, kind: Kind, labels: Mapping[str, str] | str, resource_version: str) -> Said:
        self.before_watch()
        with self._began:
            self.watches += 1
            said = self.watched[kind] = Said()
            self._began.notify_all()
        if self.is_at_an_end:
            said.close()
        return said

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
    wait_until(lambda: refusal_of(watch) is UnreachableError)
    cluster.failure = None
    wait_until(lambda: refusal_of(watch) is None)
    assert watch.statuses()["p0"].state is GroupState.RUNNING


def refusal_of(watch: StudyWatch) -> type[WinnowError] | None:
    try:
        watch.statuses()
    except WinnowError as error:
        return type(error)
    return None


@pytest.mark.parametrize("failure", [ClusterError("500"), KeyError("metadata"), REFUSED])
def test_what_may_pass_is_waited_out_whatever_it_is(
    cluster: FakeCluster, watch: StudyWatch, failure: Exception
) -> None:
    cluster.objects[JOB] = [job()]
    cluster.say(JOB, failure)
    wait_until(lambda: refusal_of(watch) is UnreachableError)
    wait_until(lambda: refusal_of(watch) is None)
    assert watch.statuses()["p0"].state is GroupState.RUNNING


def test_credentials_that_stay_refused_are_an_error(cluster: FakeCluster) -> None:
    watch = StudyWatch(cluster, "a-study", refused_s=0.5)  # type: ignore[arg-type]
    cluster.failure = REFUSED
    cluster.say(JOB, REFUSED)
    wait_until(lambda: refusal_of(watch) is UnreachableError)
    wait_until(lambda: refusal_of(watch) is InputError)
    watch.close()


def test_watches_that_end_at_once_are_not_asked_for_without_a_pause(cluster: FakeCluster) -> None:
    cluster.is_at_an_end = True
    watch = StudyWatch(cluster, "a-study")  # type: ignore[arg-type]
    time.sleep(0.5)
    watch.close()
    assert cluster.watches == 2


def test_a_watch_that_begins_while_it_is_closed_is_closed(cluster: FakeCluster) -> None:
    is_closed = threading.Event()

    def wait() -> None:
        is_closed.wait(5)

    cluster.before_watch = wait
    watch = StudyWatch(cluster, "a-study")  # type: ignore[arg-type]
    watch.close()
    is_closed.set()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("winnow-watch")])


def test_a_job_that_was_not_seen_yet_has_not_ended(cluster: FakeCluster, watch: StudyWatch) -> None:
    assert watch.await_ends({"p0": read_job(job())}, grace_s=0.0, quiet_s=0.1) == {"p0"}
    cluster.say(JOB, Change("ADDED", job()))
    cluster.say(JOB, Change("DELETED", job()))
    assert watch.await_ends({"p0": read_job(job())}, grace_s=0.0, quiet_s=5.0) == set()


def test_groups_that_do_not_end_are_waited_for_together(cluster: FakeCluster, watch: StudyWatch) -> None:
    began_at = time.monotonic()
    names = {f"p{i}" for i in range(10)}
    assert watch.await_ends(dict.fromkeys(names, read_job(job())), grace_s=0.2, quiet_s=0.2) == names
    assert time.monotonic() - began_at < 2


def test_an_end_is_awaited_of_one_job_and_of_all_processes(cluster: FakeCluster, watch: StudyWatch) -> None:
    cluster.say(JOB, Change("ADDED", job()))
    cluster.say(POD, Change("ADDED", pod()))
    wait_until(lambda: "p0" in watch.statuses() and len(watch.pods("p0")) == 1)
    assert watch.await_ends({"p0": read_job(job())}, grace_s=0.0, quiet_s=0.1) == {"p0"}
    cluster.say(JOB, Change("MODIFIED", job(uid="another")))
    assert watch.await_ends({"p0": read_job(job())}, grace_s=0.0, quiet_s=0.2) == {"p0"}
    cluster.say(POD, Change("MODIFIED", pod("Failed", 143)))
    assert watch.await_ends({"p0": read_job(job())}, grace_s=0.0, quiet_s=5.0) == set()


def test_a_warning_that_a_pod_has_got_over_is_no_trouble(cluster: FakeCluster) -> None:
    starting = {"phase": "Pending", "containerStatuses": [{"name": "worker", "state": {"waiting": CREATING}}]}
    cluster.objects = {JOB: [job()], POD: [{**pod(), "status": starting}], EVENT: [said("Warning", "FailedMount", 1)]}
    assert diagnosis_of(cluster) == "FailedMount: it was said"
    cluster.objects[EVENT].append(said("Normal", "Pulling", 2))
    assert diagnosis_of(cluster) is None


def said(kind: str, reason: str, second: int) -> Manifest:
    """An event about the pod."""
    at = f"2026-01-01T00:00:0{second}Z"
    about = {"involvedObject": {"kind": "Pod", "uid": "pod"}}
    return {**about, "type": kind, "reason": reason, "message": "it was said", "lastTimestamp": at}


def diagnosis_of(cluster: FakeCluster) -> str | None:
    """As a watch that has just begun sees it."""
    watch = StudyWatch(cluster, "a-study")  # type: ignore[arg-type]
    try:
        diagnosis = watch.statuses()["p0"].diagnosis
        return diagnosis.reason if diagnosis is not None else None
    finally:
        watch.close()

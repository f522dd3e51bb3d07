"""What a cluster says of Jobs and pods, and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from winnow.cluster.kinds import Manifest
from winnow.executors.executor import GroupState, GroupStatus, Trouble
from winnow.executors.kubernetes_state import by_object, group_status, last_status, read_job, read_pod

LABELS = {"winnow.study": "a-study", "winnow.group": "p0"}
MADE_AT_MS = 1_767_225_600_000


def job(condition: str | None = None, *, nodes: int = 1, active: int = 1, suspend: bool = False) -> Manifest:
    conditions = [{"type": condition, "status": "True"}] if condition is not None else []
    return {
        "metadata": {"name": "a-job", "uid": "job", "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"completions": nodes, "suspend": suspend},
        "status": {"active": active, "conditions": conditions},
    }


def pod(
    index: int = 0, state: dict[str, Any] | None = None, *, phase: str = "Running", uid: str = "", **status: Any
) -> Manifest:
    return {
        "metadata": {
            "name": f"a-job-{index}",
            "uid": uid or f"pod-{index}",
            "labels": {**LABELS, "batch.kubernetes.io/job-completion-index": str(index)},
            "creationTimestamp": f"2026-01-01T00:00:0{1 + index}Z",
        },
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "worker", "state": state or {"running": {}}}],
            **status,
        },
    }


def ended(index: int, code: int) -> Manifest:
    return pod(index, {"terminated": {"exitCode": code}}, phase="Failed" if code else "Succeeded")


def status(of: Manifest | None, pods: Sequence[Manifest], events: Sequence[Manifest] = ()) -> GroupStatus | None:
    read = read_job(of) if of is not None else None
    return group_status("a-study", "p0", read, map(read_pod, pods), by_object(events))


def meant(state: GroupState, code: int | None = None, trouble: Trouble | None = None) -> GroupStatus:
    return GroupStatus("a-study", "p0", state, code, started_at_ms=MADE_AT_MS, trouble=trouble)


@pytest.mark.parametrize(
    ("said", "pods", "expected"),
    [
        (job(), [], meant(GroupState.RUNNING)),
        (job("SuccessCriteriaMet"), [ended(0, 0)], meant(GroupState.RUNNING)),
        (job("FailureTarget"), [ended(0, 3)], meant(GroupState.RUNNING)),
        (job("Complete"), [ended(0, 0)], meant(GroupState.SUCCEEDED, 0)),
        (job("Complete"), [], meant(GroupState.SUCCEEDED, 0)),
        (job("Failed"), [], meant(GroupState.FAILED)),
        (job("Failed"), [ended(0, 1)], meant(GroupState.FAILED, 1)),
        (job("Failed"), [ended(0, 137)], meant(GroupState.FAILED, -9)),
        (job("Failed", nodes=2), [ended(0, 143), ended(1, 3)], meant(GroupState.FAILED, 3)),
        (job("Failed", nodes=2), [ended(0, 1), ended(1, 77)], meant(GroupState.FAILED, 1)),
        (job("Failed", nodes=2), [ended(1, 1)], meant(GroupState.FAILED, 1)),
    ],
)
def test_a_group_does_what_its_job_does(said: Manifest, pods: Sequence[Manifest], expected: GroupStatus) -> None:
    assert status(said, pods) == expected


def test_a_group_whose_job_is_gone_is_over_once_its_pods_are() -> None:
    assert status(None, [pod()]) == GroupStatus("a-study", "p0", GroupState.RUNNING, started_at_ms=MADE_AT_MS + 1000)
    assert status(None, [ended(0, 143)]) is None
    assert status(None, []) is None


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        ([ended(0, 143), ended(1, 1)], meant(GroupState.FAILED, 143)),
        ([ended(0, 0)], meant(GroupState.SUCCEEDED, 0)),
        ([pod()], meant(GroupState.ENDED)),
        ([], meant(GroupState.ENDED)),
    ],
)
def test_how_a_cancelled_group_ended_its_first_pod_tells(pods: Sequence[Manifest], expected: GroupStatus) -> None:
    assert last_status("a-study", "p0", read_job(job()), map(read_pod, pods)) == expected


def waiting(reason: str, index: int = 0, message: str = "") -> Manifest:
    return pod(index, {"waiting": {"reason": reason, "message": message}}, phase="Pending")


def event(uid: str, reason: str, message: str, at: str = "2026-01-01T00:01:00Z") -> Manifest:
    return {"involvedObject": {"uid": uid}, "reason": reason, "message": message, "lastTimestamp": at}


def reason(found: GroupStatus | None) -> str | None:
    assert found is not None
    return found.trouble.reason if found.trouble is not None else None


def test_trouble_is_what_the_pods_say() -> None:
    unschedulable = {
        "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}
        ],
        "containerStatuses": [],
    }
    assert reason(status(job(), [pod(phase="Pending", **unschedulable)])) == "Unschedulable: Insufficient cpu"
    pulling = [pod(0), waiting("ErrImagePull", 1, "no such image")]
    assert reason(status(job(nodes=2, active=2), pulling)) == "container worker: ErrImagePull: no such image"
    assert reason(status(job(), [waiting("ContainerCreating")])) is None


def test_trouble_is_what_events_say_where_pods_do_not() -> None:
    mount = event("pod-0", "FailedMount", "no such volume")
    assert reason(status(job(), [waiting("ContainerCreating")], [mount])) == "FailedMount: no such volume"
    assert reason(status(job(), [pod()], [mount])) is None
    refused = event("job", "FailedCreate", "exceeded quota")
    assert reason(status(job(active=0), [], [refused])) == "FailedCreate: exceeded quota"
    assert reason(status(job(active=1), [pod()], [refused])) is None
    made = event("job", "SuccessfulCreate", "made", at="2026-01-01T00:02:00Z")
    assert reason(status(job(active=0), [], [made, refused])) is None


def test_a_group_that_waits_for_its_turn_is_in_no_trouble_of_its_own() -> None:
    held = status(job(active=0, suspend=True), [])
    assert held is not None
    assert held.trouble is not None
    assert held.trouble.is_awaited


def test_a_group_that_is_over_is_in_no_trouble() -> None:
    assert reason(status(job("Failed"), [waiting("ErrImagePull")])) is None

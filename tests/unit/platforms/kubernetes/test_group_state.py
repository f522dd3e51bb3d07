"""What a cluster says of Jobs and pods, and what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.executor import GroupState, GroupStatus
from winnow.platforms.kubernetes.group_state import by_object, group_status, last_status, read_job, read_pod
from winnow.platforms.kubernetes.kinds import Manifest

LABELS = {"winnow.study": "a-study", "winnow.group": "p0"}
MADE_AT_MS = 1_767_225_600_000


def job(
    condition: str | None = None, *, nodes: int = 1, active: int = 1, suspend: bool = False, failed: int = 0
) -> Manifest:
    conditions = [{"type": condition, "status": "True"}] if condition is not None else []
    return {
        "metadata": {"name": "a-job", "uid": "job", "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"completions": nodes, "suspend": suspend, "backoffLimit": 6},
        "status": {"active": active, "conditions": conditions, "failed": failed},
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


def meant(state: GroupState, code: int | None = None, diagnosis: Diagnosis | None = None) -> GroupStatus:
    return GroupStatus(
        "a-study", "p0", state, code, started_at_ms=MADE_AT_MS, diagnosis=diagnosis, has_remains=state.is_over
    )


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
    assert last_status("a-study", "p0", read_job(job()), map(read_pod, pods)) == replace(expected, has_remains=False)


def waiting(reason: str, index: int = 0, message: str = "") -> Manifest:
    return pod(index, {"waiting": {"reason": reason, "message": message}}, phase="Pending")


def event(uid: str, reason: str, message: str, at: str = "2026-01-01T00:01:00Z") -> Manifest:
    return {"involvedObject": {"uid": uid}, "reason": reason, "message": message, "lastTimestamp": at}


def reason(found: GroupStatus | None) -> str | None:
    assert found is not None
    return found.diagnosis.reason if found.diagnosis is not None else None


def test_a_diagnosis_is_what_the_pods_say() -> None:
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


def test_a_diagnosis_is_what_events_say_where_pods_do_not() -> None:
    mount = event("pod-0", "FailedMount", "no such volume")
    assert reason(status(job(), [waiting("ContainerCreating")], [mount])) == "FailedMount: no such volume"
    assert reason(status(job(), [pod()], [mount])) is None
    refused = event("job", "FailedCreate", "exceeded quota")
    held = status(job(active=0), [], [refused])
    assert reason(held) == "FailedCreate: exceeded quota"
    assert held is not None
    assert held.diagnosis is not None
    assert "execution.kubernetes requests, gpu_resource, priority_class" in held.diagnosis.remedy
    assert reason(status(job(active=1), [pod()], [refused])) is None
    made = event("job", "SuccessfulCreate", "made", at="2026-01-01T00:02:00Z")
    assert reason(status(job(active=0), [], [made, refused])) is None


def test_a_group_that_waits_for_its_turn_has_an_awaited_diagnosis() -> None:
    held = status(job(active=0, suspend=True), [])
    assert held is not None
    assert held.diagnosis is not None
    assert held.diagnosis.is_awaited


def test_a_group_that_is_over_is_in_no_trouble() -> None:
    assert reason(status(job("Failed"), [waiting("ErrImagePull")])) is None


def crashed(
    code: int, why: str = "Error", message: str = "", *, index: int = 0, lasted_s: int = 0, at: int = 1, **status: Any
) -> Manifest:
    """A pod that ended, the `at`th that was made."""
    times = {
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": f"2026-01-01T00:{lasted_s // 60:02}:{lasted_s % 60:02}Z",
    }
    found = pod(
        index, {"terminated": {"exitCode": code, "reason": why, "message": message, **times}}, phase="Failed", **status
    )
    found["metadata"] |= {"uid": f"crashed-{index}-{at}", "creationTimestamp": f"2026-01-01T00:00:{at:02}Z"}
    return found


def test_a_worker_that_ends_at_once_is_a_diagnosis_until_one_runs() -> None:
    found = status(job(active=0, failed=1), [crashed(5)])
    assert found is not None
    assert found.diagnosis == Diagnosis(
        "a pod ended with exit code 5 (Error)",
        "Read why: `make logs STUDY=a-study`; the cluster retries 6 more times.",
    )
    again = waiting("ContainerCreating")
    assert reason(status(job(failed=1), [crashed(5), again])) == "a pod ended with exit code 5 (Error)"
    runs = pod()
    runs["metadata"]["creationTimestamp"] = "2026-01-01T00:00:02Z"
    assert reason(status(job(failed=1), [crashed(5), runs])) is None
    assert reason(status(job(failed=2), [crashed(5), crashed(6, at=2)])) == "a pod ended with exit code 6 (Error)"
    unseen = "StartError: exec: no such file"
    assert reason(status(job(), [crashed(128, "StartError", "exec:\nno such file")])) == (
        f"a pod ended with exit code 128 ({unseen})"
    )


@pytest.mark.parametrize(
    ("failed", "said"), [(0, "6 more times"), (2, "5 more times"), (6, "1 more time."), (7, "gives up")]
)
def test_how_often_the_cluster_tries_again_is_told(failed: int, said: str) -> None:
    found = status(job(active=0, failed=failed), [crashed(1)])
    assert found is not None
    assert found.diagnosis is not None
    assert said in found.diagnosis.remedy


@pytest.mark.parametrize("code", [0, 2, 3, 77, 143])
def test_what_the_job_does_not_try_again_for_a_failure_is_no_trouble(code: int) -> None:
    assert reason(status(job(active=0), [crashed(code)])) is None


def test_a_pod_that_was_evicted_is_no_diagnosis() -> None:
    disrupted = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert reason(status(job(active=0), [crashed(137, **disrupted)])) is None
    leaving = crashed(137)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    assert reason(status(job(active=0), [leaving])) is None
    assert reason(status(job("FailureTarget", active=0), [crashed(1)])) is None


def test_each_node_is_diagnosed() -> None:
    assert reason(status(job(nodes=2), [pod(), crashed(5, index=1)])) == "a pod ended with exit code 5 (Error)"


def test_a_worker_that_has_worked_only_waits_for_its_next_pod() -> None:
    for lasted_s, is_awaited in ((59, False), (61, True)):
        found = status(job(active=0, failed=1), [crashed(137, "OOMKilled", lasted_s=lasted_s)])
        assert found is not None
        assert found.diagnosis is not None
        assert (found.diagnosis.reason, found.diagnosis.is_awaited) == (
            "a pod ended with exit code 137 (OOMKilled)",
            is_awaited,
        )

"""What keeps pods from running, by what the cluster says of them."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.platforms.kubernetes.diagnosis import diagnosis_of, diagnosis_of_owner


def pod(
    *waiting: str, conditions: list[dict[str, str]] | None = None, place: str = "containerStatuses"
) -> dict[str, Any]:
    statuses = [
        {"name": "worker", "state": {"waiting": {"reason": reason, "message": f"about\n {reason}"}}}
        for reason in waiting
    ]
    return {"kind": "Pod", "status": {"conditions": conditions or [], place: statuses}}


def scheduled(reason: str) -> list[dict[str, str]]:
    return [{"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/1 nodes are available."}]


def event(reason: str, message: str = "why") -> dict[str, Any]:
    return {"reason": reason, "message": message}


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    ],
)
@pytest.mark.parametrize("place", ["containerStatuses", "initContainerStatuses"])
def test_a_container_that_cannot_start_says_why(reason: str, place: str) -> None:
    found = diagnosis_of(pod(reason, place=place))
    assert found is not None
    assert found.reason == f"container worker: {reason}: about {reason}"
    assert found.remedy.endswith(".")
    assert not found.is_awaited


def test_a_pod_that_fits_on_no_node_is_in_trouble() -> None:
    found = diagnosis_of(pod(conditions=scheduled("Unschedulable")))
    assert found is not None
    assert found.reason == "Unschedulable: 0/1 nodes are available"
    assert "kubectl get nodes" in found.remedy
    assert not found.is_awaited


def test_a_pod_behind_a_gate_waits_for_its_turn() -> None:
    found = diagnosis_of(pod(conditions=scheduled("SchedulingGated")))
    assert found is not None
    assert found.is_awaited


def test_a_pod_on_its_way_is_in_none() -> None:
    assert diagnosis_of(pod("ContainerCreating"), [event("Pulling"), event("Scheduled")]) is None
    assert diagnosis_of({"kind": "Pod", "status": {}}) is None
    assert diagnosis_of({"kind": "Pod"}) is None


def test_a_volume_that_is_missing_is_seen_in_the_events() -> None:
    found = diagnosis_of(pod("ContainerCreating"), [event("Scheduled"), event("FailedMount", 'secret "x" not found')])
    assert found is not None
    assert found.reason == 'FailedMount: secret "x" not found'


@pytest.mark.parametrize("reason", ["Pulling", "Pulled", "Created"])
@pytest.mark.parametrize("warning", ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"])
def test_what_a_pod_has_got_over_is_no_trouble(warning: str, reason: str) -> None:
    assert diagnosis_of(pod("ContainerCreating"), [event(warning), event(reason)]) is None
    assert diagnosis_of(pod("ContainerCreating"), [event(reason), event(warning)]) is not None


def test_old_warnings_do_not_count_for_a_pod_that_runs() -> None:
    running = {"status": {"containerStatuses": [{"name": "worker", "state": {"running": {}}}]}}
    assert diagnosis_of(running, [event("FailedMount")]) is None


def test_an_owner_whose_pods_are_refused_says_why() -> None:
    found = diagnosis_of_owner({"kind": "Job", "spec": {}}, [event("FailedCreate", "exceeded quota: small")])
    assert found is not None
    assert found.reason == "FailedCreate: exceeded quota: small"
    assert "quota" in found.remedy


def test_a_refusal_that_was_overcome_does_not_count() -> None:
    assert diagnosis_of_owner({"kind": "Job"}, [event("FailedCreate"), event("SuccessfulCreate")]) is None


@pytest.mark.parametrize(("labels", "said"), [({"kueue.x-k8s.io/queue-name": "q"}, "queue q"), ({}, "spec.suspend")])
def test_a_suspended_job_waits_for_its_turn(labels: dict[str, str], said: str) -> None:
    found = diagnosis_of_owner({"kind": "Job", "metadata": {"labels": labels}, "spec": {"suspend": True}})
    assert found is not None
    assert found.is_awaited
    assert said in found.reason

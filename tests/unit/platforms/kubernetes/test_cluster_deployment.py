"""What is read from pods."""

from __future__ import annotations

from typing import Any

from winnow.platforms import labels
from winnow.platforms.kubernetes.cluster_deployment import failure, uncreated
from winnow.routing import ReplicaObserved

STARTED, LATER = "2026-01-01T10:00:05Z", "2026-01-01T10:00:30Z"


def pod(ready_since: str, *, is_running: bool = True, reason: str = "Error", code: int = 1) -> dict[str, Any]:
    """A pod whose server has ended once; its readiness last changed at `ready_since`."""
    past = {"terminated": {"exitCode": code, "reason": reason, "startedAt": STARTED}}
    status = {"lastState": past, "state": {"running": {}}} if is_running else {"state": past}
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": ready_since}
    return {"status": {"conditions": [ready], "containerStatuses": [{"name": "server", "ready": False, **status}]}}


def test_a_server_that_ended_before_it_was_ready_has_failed() -> None:
    assert failure(pod(STARTED)) == "ended before it was ready (exit code 1)"
    assert failure(pod(STARTED, is_running=False)) == "ended before it was ready (exit code 1)"
    assert failure(pod(STARTED, reason="OOMKilled", code=137)) == (
        "was stopped for using more memory than its limit (exit code 137)"
    )


def test_a_server_that_was_ready_before_it_ended_may_come_back() -> None:
    assert failure(pod(LATER)) == ""


def test_a_pod_whose_server_has_never_ended_has_not_failed() -> None:
    assert (
        failure({"status": {"containerStatuses": [{"name": "server", "ready": False, "state": {"waiting": {}}}]}}) == ""
    )


def of_revision(name: str, number: int, **parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {labels.REVISION: str(number)}}, **parts}


def test_a_replica_whose_pod_does_not_exist_yet_is_seen_with_the_reason_that_the_cluster_gives() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded\n quota"}
    past = {**refused, "status": "False"}
    deployments = [
        of_revision("complete", 1, spec={"replicas": 1}),
        of_revision("just-started", 2, spec={}),
        of_revision("refused", 3, spec={"replicas": 2}, status={"conditions": [refused]}),
        of_revision("scaled-down", 4, spec={"replicas": 0}),
        of_revision("going-on", 5, spec={"replicas": 1}, status={"conditions": [past]}),
        {"metadata": {"name": "router", "labels": {}}, "spec": {"replicas": 1}},
    ]
    assert uncreated(deployments, [of_revision("complete-x", 1), of_revision("refused-x", 3)]) == (
        ReplicaObserved("just-started", 2, is_ready=False),
        ReplicaObserved("refused", 3, is_ready=False, waiting="FailedCreate: exceeded quota"),
        ReplicaObserved("going-on", 5, is_ready=False),
    )

"""What a cluster says of a group's Job and pods, and what that means for the group: one table, pure functions.

The Job controller replaces pods by itself and counts what failed, so the Job alone decides whether a group is over; its
pods tell how it ended, and why it does not start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias

from winnow.cluster.kinds import Manifest
from winnow.cluster.pods import INDEX, is_over
from winnow.cluster.trouble import trouble_of, trouble_of_owner
from winnow.containers.engine import GROUP, STUDY
from winnow.executors.executor import GroupState, GroupStatus, Trouble
from winnow.executors.exit_codes import exit_code
from winnow.executors.kubernetes_plan import WORKER

Events: TypeAlias = Mapping[str, Sequence[Manifest]]
"""Events by the uid of what they are about, oldest first."""

_STATES = {"Complete": GroupState.SUCCEEDED, "Failed": GroupState.FAILED}
"""A Job's conditions (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus) as
ours. With none of them it works, waits, or ends its last pods (SuccessCriteriaMet, FailureTarget)."""

_FATAL = (2, 3)
"""Exit codes at which the Job gives up by itself, whichever pod has them."""


@dataclass(frozen=True)
class Pod:
    """What matters of one.

    Attributes:
        index: of its node in the group.
        is_over: its processes have ended.
        code: how its worker ended, as the cluster says it; None: it has not, or nobody has seen it.
        has_started: its worker runs, or has; before that it has no log.
        leaving_s: what it has been given to end, if it has been deleted.
        created_at_ms: since the epoch.
        pending: what it says while it has not started; None once it has.
    """

    name: str
    uid: str
    study: str
    group: str
    index: int
    phase: str
    is_over: bool
    is_leaving: bool
    code: int | None
    has_started: bool
    leaving_s: float
    created_at_ms: int
    pending: Manifest | None

    @property
    def is_silent(self) -> bool:
        """It has not started and does not say why: where that takes long, an event may."""
        return self.pending is not None and not self.is_leaving and trouble_of(self.pending) is None


@dataclass(frozen=True)
class Job:
    """What matters of one.

    Attributes:
        nodes: the group's.
        active: pods that there are and that have not ended.
        state: by its conditions.
        said: what it says of why it does not have its pods.
    """

    name: str
    uid: str
    study: str
    group: str
    nodes: int
    active: int
    state: GroupState
    is_leaving: bool
    created_at_ms: int
    said: Manifest

    @property
    def is_silent(self) -> bool:
        """It works, its pods have not all been made, and it does not say why: an event may."""
        is_at_it = self.state is GroupState.RUNNING and not self.is_leaving
        return is_at_it and self.active < self.nodes and trouble_of_owner(self.said) is None


def read_job(manifest: Manifest) -> Job:
    """A worker group's Job, as the API gives it."""
    metadata, spec, status = manifest["metadata"], manifest["spec"], manifest.get("status") or {}
    true = [each["type"] for each in status.get("conditions") or () if each["status"] == "True"]
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        study=metadata["labels"][STUDY],
        group=metadata["labels"][GROUP],
        nodes=int(spec.get("completions") or 1),
        active=int(status.get("active") or 0),
        state=next((_STATES[each] for each in true if each in _STATES), GroupState.RUNNING),
        is_leaving="deletionTimestamp" in metadata,
        created_at_ms=_milliseconds(metadata["creationTimestamp"]),
        said={
            "kind": "Job",
            "metadata": {"labels": metadata["labels"]},
            "spec": {"suspend": bool(spec.get("suspend"))},
        },
    )


def read_pod(manifest: Manifest) -> Pod:
    """A worker group's pod, as the API gives it."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    worker: Manifest = next((each for each in status.get("containerStatuses") or () if each["name"] == WORKER), {})
    state: dict[str, Any] = worker.get("state") or {}
    is_pending = status.get("phase", "Pending") == "Pending"
    told = ("conditions", "initContainerStatuses", "containerStatuses")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        study=metadata["labels"][STUDY],
        group=metadata["labels"][GROUP],
        index=int(metadata["labels"].get(INDEX) or metadata.get("annotations", {}).get(INDEX) or 0),
        phase=status.get("phase", "Pending"),
        is_over=is_over(manifest),
        is_leaving="deletionTimestamp" in metadata,
        code=state["terminated"].get("exitCode") if "terminated" in state else None,
        has_started="running" in state or "terminated" in state,
        leaving_s=metadata.get("deletionGracePeriodSeconds") or 0.0,
        created_at_ms=_milliseconds(metadata["creationTimestamp"]),
        pending={"status": {key: status[key] for key in told if key in status}} if is_pending else None,
    )


def by_object(events: Iterable[Manifest]) -> Events:
    """Events by the uid of what they are about, oldest first."""
    found: dict[str, list[Manifest]] = {}
    for event in sorted(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or ""):
        found.setdefault(event["involvedObject"].get("uid", ""), []).append(event)
    return found


def is_of_group(manifest: Manifest) -> bool:
    """Whether an object carries the labels of a group, which anybody may have given another."""
    return {STUDY, GROUP} <= (manifest["metadata"].get("labels") or {}).keys()


def group_status(
    study: str, name: str, job: Job | None, pods: Iterable[Pod], events: Events = MappingProxyType({})
) -> GroupStatus | None:
    """What a group is doing; None where there is nothing of it.

    Args:
        job: None: it is gone, and its pods may be on their way out.
        events: warnings about Jobs and pods.
    """
    pods = tuple(pods)
    if job is None:
        alive = [pod for pod in pods if not pod.is_over]
        if not alive:
            return None
        return GroupStatus(study, name, GroupState.RUNNING, started_at_ms=min(pod.created_at_ms for pod in alive))
    has_ended = job.state.is_over
    return GroupStatus(
        study,
        name,
        job.state,
        _exit_code(job, pods) if has_ended else None,
        started_at_ms=job.created_at_ms,
        trouble=None if has_ended or job.is_leaving else _trouble(job, pods, events),
    )


def last_status(study: str, name: str, job: Job | None, pods: Iterable[Pod]) -> GroupStatus:
    """How a group has ended that was taken away while it ran, from the last that was seen of its pods."""
    since_ms = job.created_at_ms if job is not None else None
    firsts = [pod for pod in pods if pod.index == 0 and pod.code is not None]
    if not firsts:
        return GroupStatus(study, name, GroupState.ENDED, started_at_ms=since_ms)
    code = exit_code(max(firsts, key=lambda pod: pod.created_at_ms).code)
    return GroupStatus(study, name, GroupState.SUCCEEDED if code == 0 else GroupState.FAILED, code, since_ms)


def _exit_code(job: Job, pods: Sequence[Pod]) -> int | None:
    """Of the pod that decided: one at whose code the Job gave up, else the first node's last."""
    if job.state is GroupState.SUCCEEDED:
        return 0
    ended = sorted((pod for pod in pods if pod.code is not None), key=lambda pod: pod.created_at_ms)
    fatal = [pod.code for pod in ended if pod.code in _FATAL]
    failed = [pod.code for pod in ended if pod.code != 0]
    first = [pod.code for pod in ended if pod.index == 0 and pod.code != 0]
    return exit_code(next((codes[-1] for codes in (fatal, first, failed) if codes), None))


def _trouble(job: Job, pods: Sequence[Pod], events: Events) -> Trouble | None:
    """Of the Job, else of its pods, by index; what is only waited for counts last."""
    waiting = (pod for pod in sorted(pods, key=lambda pod: pod.index) if not pod.is_leaving)
    found = [
        trouble_of_owner(job.said, events.get(job.uid, ()) if job.is_silent else ()),
        *(trouble_of(pod.pending, events.get(pod.uid, ())) for pod in waiting if pod.pending is not None),
    ]
    known = sorted((trouble for trouble in found if trouble is not None), key=lambda trouble: trouble.is_awaited)
    return Trouble(known[0].reason, known[0].remedy, known[0].is_awaited) if known else None


def _milliseconds(stamp: str) -> int:
    """An RFC 3339 time as milliseconds since the epoch."""
    return int(1000 * datetime.fromisoformat(stamp).timestamp())

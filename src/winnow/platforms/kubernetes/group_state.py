"""The status of a worker group, from its Job and pods: one table and pure functions.

The Job controller replaces pods and counts failures, so the Job alone decides whether a group is over. Its pods show
how it ended, and why it does not start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias

from winnow.config.exit_codes import NEVER_RETRIED, NOT_A_FAILURE, GroupExit, group_exit_of_container
from winnow.config.next_command import next_command
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.executor import GroupState, GroupStatus
from winnow.platforms.kubernetes.diagnosis import diagnosis_of, diagnosis_of_owner
from winnow.platforms.kubernetes.group_plan import WORKER
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.pods import INDEX, is_over
from winnow.platforms.labels import GROUP, STUDY

Events: TypeAlias = Mapping[str, Sequence[Manifest]]
"""Events by the uid of what they are about, oldest first."""

_STATES = {"Complete": GroupState.SUCCEEDED, "Failed": GroupState.FAILED}
"""A Job's conditions (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus) as
ours. With none of them it runs, waits, or ends its last pods (SuccessCriteriaMet, FailureTarget)."""
_DECIDED = frozenset({*_STATES, "SuccessCriteriaMet", "FailureTarget"})

_AT_ONCE_S = 60.0
"""A worker that ends within this did not start properly. After a longer run the cluster restarts it, with a pause that
grows to minutes."""
_LONGEST_WHY = 300

_ASKED_FOR = (
    "What a group asks for is in the experiment: execution.resources, execution.volumes, and in execution.kubernetes "
    "requests, gpu_resource, priority_class, annotations and pod."
)


@dataclass(frozen=True)
class Pod:
    """A worker group's pod.

    Attributes:
        index: of its node in the group.
        is_disrupted: the cluster evicted it, which is not a failure of its own.
        code: exit code of its worker; None: it runs, or its end was not seen.
        why: reason and message of its end, in one line.
        lasted_s: how long its worker ran; 0 if it never did.
        has_started: its worker runs or has run, so it has a log.
        leaving_s: its grace period, if it is being deleted.
        pending: the part of its status that says why it has not started; None once it has.
    """

    name: str
    uid: str
    study: str
    group: str
    index: int
    phase: str
    is_over: bool
    is_leaving: bool
    is_disrupted: bool
    code: int | None
    why: str
    lasted_s: float
    has_started: bool
    leaving_s: float
    created_at_ms: int
    pending: Manifest | None

    @property
    def is_silent(self) -> bool:
        """Whether it has not started and its status does not say why; an event may."""
        return self.pending is not None and not self.is_leaving and diagnosis_of(self.pending) is None


@dataclass(frozen=True)
class Job:
    """A worker group's Job.

    Attributes:
        active: pods that have not ended.
        failed, may_fail: pods that have failed, and that may fail before it gives up.
        is_ending: whether its outcome is decided.
        said: the part of its manifest that says why it does not have its pods.
    """

    name: str
    uid: str
    study: str
    group: str
    nodes: int
    active: int
    failed: int
    may_fail: int
    state: GroupState
    is_ending: bool
    is_leaving: bool
    created_at_ms: int
    said: Manifest

    @property
    def is_silent(self) -> bool:
        """Whether it runs, lacks pods, and its status does not say why; an event may."""
        is_running = self.state is GroupState.RUNNING and not self.is_leaving
        return is_running and self.active < self.nodes and diagnosis_of_owner(self.said) is None


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
        failed=int(status.get("failed") or 0),
        may_fail=int(spec.get("backoffLimit", 6)),
        state=next((_STATES[each] for each in true if each in _STATES), GroupState.RUNNING),
        is_ending=any(each in _DECIDED for each in true),
        is_leaving="deletionTimestamp" in metadata,
        created_at_ms=_milliseconds(metadata["creationTimestamp"]),
        said={
            "kind": "Job",
            "metadata": {"labels": metadata["labels"]},
            "spec": {"suspend": bool(spec.get("suspend"))},
        },
    )


def read_pod(manifest: Manifest) -> Pod:
    """A pod from its manifest."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    worker: Manifest = next((each for each in status.get("containerStatuses") or () if each["name"] == WORKER), {})
    state: dict[str, Any] = worker.get("state") or {}
    ended: dict[str, Any] = state.get("terminated") or {}
    is_pending = status.get("phase", "Pending") == "Pending"
    shown = ("conditions", "initContainerStatuses", "containerStatuses")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        study=metadata["labels"][STUDY],
        group=metadata["labels"][GROUP],
        index=int(metadata["labels"].get(INDEX) or metadata.get("annotations", {}).get(INDEX) or 0),
        phase=status.get("phase", "Pending"),
        is_over=is_over(manifest),
        is_leaving="deletionTimestamp" in metadata,
        is_disrupted=any(
            each["type"] == "DisruptionTarget" and each["status"] == "True" for each in status.get("conditions") or ()
        ),
        code=ended.get("exitCode"),
        why=_why(ended),
        lasted_s=_lasted_s(ended),
        has_started="running" in state or "terminated" in state,
        leaving_s=metadata.get("deletionGracePeriodSeconds") or 0.0,
        created_at_ms=_milliseconds(metadata["creationTimestamp"]),
        pending={"status": {key: status[key] for key in shown if key in status}} if is_pending else None,
    )


def by_object(events: Iterable[Manifest]) -> Events:
    """Events by the uid of what they are about, oldest first."""
    found: dict[str, list[Manifest]] = {}
    for event in sorted(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or ""):
        found.setdefault(event["involvedObject"].get("uid", ""), []).append(event)
    return found


def is_of_group(manifest: Manifest) -> bool:
    """Whether an object has the labels of a group."""
    return {STUDY, GROUP} <= (manifest["metadata"].get("labels") or {}).keys()


def group_status(
    study: str, name: str, job: Job | None, pods: Iterable[Pod], events: Events = MappingProxyType({})
) -> GroupStatus | None:
    """The status of a group; None where nothing of it exists. Without a Job, its pods may still terminate."""
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
        diagnosis=None if has_ended or job.is_leaving else _diagnosis(job, pods, events),
        has_remains=has_ended and not job.is_leaving,
    )


def last_status(study: str, name: str, job: Job | None, pods: Iterable[Pod]) -> GroupStatus:
    """The final status of a group that was removed while it ran, from the last known state of its pods."""
    since_ms = job.created_at_ms if job is not None else None
    firsts = [pod for pod in pods if pod.index == 0 and pod.code is not None]
    if not firsts:
        return GroupStatus(study, name, GroupState.ENDED, started_at_ms=since_ms)
    code = group_exit_of_container(max(firsts, key=lambda pod: pod.created_at_ms).code)
    return GroupStatus(study, name, GroupState.SUCCEEDED if code == 0 else GroupState.FAILED, code, since_ms)


def _exit_code(job: Job, pods: Sequence[Pod]) -> int | None:
    """Exit code of the pod that decided: one with a code that is never retried, else the first node's last."""
    if job.state is GroupState.SUCCEEDED:
        return 0
    ended = sorted((pod for pod in pods if pod.code is not None), key=lambda pod: pod.created_at_ms)
    fatal = [pod.code for pod in ended if pod.code in NEVER_RETRIED]
    failed = [pod.code for pod in ended if pod.code != 0]
    first = [pod.code for pod in ended if pod.index == 0 and pod.code != 0]
    return group_exit_of_container(next((codes[-1] for codes in (fatal, first, failed) if codes), None))


def _diagnosis(job: Job, pods: Sequence[Pod], events: Events) -> Diagnosis | None:
    """The Job's diagnosis, else that of its pods by index; awaited ones come last."""
    waiting = (pod for pod in sorted(pods, key=lambda pod: pod.index) if not pod.is_leaving)
    owners = diagnosis_of_owner(job.said, events.get(job.uid, ()) if job.is_silent else ())
    if owners is not None and not owners.is_awaited:
        owners = replace(owners, remedy=f"{owners.remedy} {_ASKED_FOR}")
    found = [
        owners,
        *(diagnosis_of(pod.pending, events.get(pod.uid, ())) for pod in waiting if pod.pending is not None),
    ]
    known = [each for each in (*found, _crash(job, pods)) if each is not None]
    return min(known, key=lambda diagnosis: diagnosis.is_awaited, default=None)


def _crash(job: Job, pods: Sequence[Pod]) -> Diagnosis | None:
    """The diagnosis of a node whose worker has failed and does not run again yet.

    Groups that fail in the same way get the same text, so that they are reported together.
    """
    failed = next((pod for index in range(job.nodes) if (pod := _failed(pods, index)) is not None), None)
    if failed is None or job.is_ending:
        return None
    # The Job counts a failed pod a moment after its end.
    left = job.may_fail + 1 - max(job.failed, 1)
    again = f"retries {left} more time{'' if left == 1 else 's'}" if left > 0 else "gives up"
    return Diagnosis(
        f"a pod ended with exit code {failed.code}{failed.why and f' ({failed.why})'}",
        f"Read why: `{next_command('logs', study=job.study)}`; the cluster {again}.",
        is_awaited=failed.lasted_s > _AT_ONCE_S,
    )


def _failed(pods: Sequence[Pod], index: int) -> Pod | None:
    """The last pod of a node, if it has failed and no later one has started."""
    begun = [pod for pod in pods if pod.index == index and (pod.has_started or pod.is_over)]
    last = max(begun, key=lambda pod: pod.created_at_ms, default=None)
    if last is None or last.code is None or last.code in (GroupExit.DONE, *NOT_A_FAILURE, *NEVER_RETRIED):
        return None
    return None if last.is_disrupted or last.is_leaving else last


def _why(ended: Mapping[str, Any]) -> str:
    """Reason and message of a container's last state."""
    text = " ".join(": ".join(str(ended[key]) for key in ("reason", "message") if ended.get(key)).split())
    return text if len(text) <= _LONGEST_WHY else f"{text[: _LONGEST_WHY - 1]}…"


def _lasted_s(ended: Mapping[str, Any]) -> float:
    began, until = ended.get("startedAt"), ended.get("finishedAt")
    # For a container that never ran, the kubelet dates the start to 1970.
    if not began or not until or _milliseconds(began) == 0:
        return 0.0
    return (_milliseconds(until) - _milliseconds(began)) / 1000


def _milliseconds(stamp: str) -> int:
    """An RFC 3339 time as milliseconds since the epoch."""
    return int(1000 * datetime.fromisoformat(stamp).timestamp())

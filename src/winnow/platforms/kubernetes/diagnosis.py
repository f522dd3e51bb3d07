"""Why a pod does not run yet, in the cluster's words, and what a person can do about it.

A pod that is pulling or creating has no diagnosis. The module that started the pod acts on a diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.kubernetes.kinds import Manifest

_ROOM = (
    "Ask for less CPU, memory or GPUs, or for nodes that there are (node selector, tolerations, volumes), or add "
    "nodes; `kubectl get nodes` lists them."
)
_PULL = (
    "Bring the image to where the nodes find it: push it (WINNOW_REGISTRY), or load it (WINNOW_IMAGE_LOAD; with "
    "`build-train` or `build-prod` where a node has lost what was loaded). Where a registry asks for a password, "
    "name an image pull secret in the pod or its service account."
)
_CONFIGURATION = "Make the Secret or ConfigMap that it names, or correct the name."
_COMMAND = "Look into its image: the command has to be there, and runnable by the user that the pod runs as."
_NODE = "Look at the node and its storage: `kubectl describe pod` tells more."
_REFUSED = (
    "Change what is asked for to what the namespace allows (quota, limit range, pod security), or have its owner allow "
    "more; `kubectl describe quota,limitrange` shows both."
)

_WAITING: Mapping[str, str] = {
    "ErrImagePull": _PULL,
    "ImagePullBackOff": _PULL,
    "ErrImageNeverPull": _PULL,
    "InvalidImageName": "Correct the image's name.",
    "ImageInspectError": _PULL,
    "RegistryUnavailable": _PULL,
    "CreateContainerConfigError": _CONFIGURATION,
    "CreateContainerError": _COMMAND,
    "RunContainerError": _COMMAND,
    "CrashLoopBackOff": "Read what it says before it ends: `kubectl logs --previous`.",
}
"""The kubelet's reasons for a container that does not start by itself → what to do."""

_STUCK: Mapping[str, str] = {
    "FailedMount": _CONFIGURATION,
    "FailedAttachVolume": _NODE,
    "FailedCreatePodSandBox": _NODE,
    "FailedBinding": _NODE,
    "ProvisioningFailed": _NODE,
}
"""Warnings about a pod whose containers are still reported as being created."""

_OVERCOME = frozenset({"Pulling", "Pulled", "Created"})
"""Events that follow once a pod has its volumes and its network: earlier warnings no longer count."""

_ON_THEIR_WAY = ("ContainerCreating", "PodInitializing")


def diagnosis_of(pod: Manifest, events: Sequence[Manifest] = ()) -> Diagnosis | None:
    """What keeps a pod from running; None where nothing does, or nothing is reported yet.

    Args:
        events: about the pod, oldest first; some causes are reported in events only. A warning counts where the pod
            got no further after it.
    """
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _unscheduled(condition)
    waiting = list(_waiting(status))
    for name, why in waiting:
        if (reason := str(why.get("reason", ""))) in _WAITING:
            return Diagnosis(_line(f"container {name}: {reason}", why.get("message")), _WAITING[reason])
    if any(why.get("reason") in _ON_THEIR_WAY for _, why in waiting):
        return _warned(events)
    return None


def diagnosis_of_owner(owner: Manifest, events: Sequence[Manifest] = ()) -> Diagnosis | None:
    """What keeps a Job, ReplicaSet or StatefulSet from making its pods; None where nothing does.

    Args:
        events: about it, oldest first. A refusal counts where nothing was made after it.
    """
    if owner.get("kind") == "Job" and owner.get("spec", {}).get("suspend"):
        return _suspended(owner)
    for event in reversed(events):
        if event.get("reason") == "SuccessfulCreate":
            return None
        if event.get("reason") == "FailedCreate":
            return Diagnosis(_line("FailedCreate", event.get("message")), _REFUSED)
    return None


def _unscheduled(condition: Mapping[str, Any]) -> Diagnosis | None:
    reason = str(condition.get("reason", ""))
    text = _line(reason, condition.get("message"))
    if reason == "SchedulingGated":
        return Diagnosis(text, "Wait until the pod's scheduling gate is removed.", is_awaited=True)
    return Diagnosis(text, _ROOM)


def _suspended(job: Manifest) -> Diagnosis:
    queue = (job["metadata"].get("labels") or {}).get("kueue.x-k8s.io/queue-name")
    if queue:
        return Diagnosis(f"Suspended: waits for its turn in the queue {queue}", "Wait, or use another queue.", True)
    return Diagnosis("Suspended: spec.suspend is set", "Set it to false to let the Job continue.", True)


def _waiting(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        if why := (container.get("state") or {}).get("waiting"):
            yield container["name"], why


def _warned(events: Sequence[Manifest]) -> Diagnosis | None:
    for event in reversed(events):
        if (reason := str(event.get("reason", ""))) in _OVERCOME:
            return None
        if reason in _STUCK:
            return Diagnosis(_line(reason, event.get("message")), _STUCK[reason])
    return None


def _line(reason: str, message: object) -> str:
    text = " ".join(str(message or "").split()).rstrip(".")
    return f"{reason}: {text}" if text else reason

"""Why a pod does not run yet, and what to do about it.

A pod that is pulling its image or being created has no diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.kubernetes.kinds import Manifest

_ROOM = (
    "Request less CPU, memory or GPUs, correct the node selector, tolerations or volumes, or add nodes; "
    "`kubectl get nodes` lists them."
)
_PULL = (
    "Deliver the image to the nodes: push it (WINNOW_REGISTRY), or load it (WINNOW_IMAGE_LOAD; again with "
    "`build-train` or `build-prod` if a node has lost it). If the registry needs a password, name an image pull secret "
    "in the pod or its service account."
)
_CONFIGURATION = "Create the Secret or ConfigMap that it names, or correct the name."
_COMMAND = "Check the image: it has to contain the command, executable for the pod's user."
_NODE = "Check the node and its storage: `kubectl describe pod` shows more."
_REFUSED = (
    "Request only what the namespace allows (quota, limit range, pod security), or ask its owner to allow more; "
    "`kubectl describe quota,limitrange` shows both."
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
    "CrashLoopBackOff": "Read its last log: `kubectl logs --previous`.",
}
"""The kubelet's reason for a container that does not start → remedy."""

_STUCK: Mapping[str, str] = {
    "FailedMount": _CONFIGURATION,
    "FailedAttachVolume": _NODE,
    "FailedCreatePodSandBox": _NODE,
    "FailedBinding": _NODE,
    "ProvisioningFailed": _NODE,
}
"""Warnings about a pod whose containers are being created → remedy."""

_OVERCOME = frozenset({"Pulling", "Pulled", "Created"})
"""Events after a pod got its volumes and network: earlier warnings are obsolete."""

_ON_THEIR_WAY = ("ContainerCreating", "PodInitializing")


def diagnosis_of(pod: Manifest, events: Sequence[Manifest] = ()) -> Diagnosis | None:
    """Why a pod does not run; None if it does, or if no reason is reported yet.

    Args:
        events: about the pod, oldest first; some reasons are reported only there.
    """
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            text = _line(reason := str(condition.get("reason", "")), condition.get("message"))
            if reason == "SchedulingGated":
                return Diagnosis(text, "Wait until the pod's scheduling gate is removed.", is_awaited=True)
            return Diagnosis(text, _ROOM)
    waiting = list(_waiting(status))
    for name, why in waiting:
        if (reason := str(why.get("reason", ""))) in _WAITING:
            return Diagnosis(_line(f"container {name}: {reason}", why.get("message")), _WAITING[reason])
    if any(why.get("reason") in _ON_THEIR_WAY for _, why in waiting):
        return _warned(events)
    return None


def diagnosis_of_owner(owner: Manifest, events: Sequence[Manifest] = ()) -> Diagnosis | None:
    """Why a Job, ReplicaSet or StatefulSet does not create its pods; None if it does.

    Args:
        events: about it, oldest first. A pod that was created later makes a refusal obsolete.
    """
    if owner.get("kind") == "Job" and owner.get("spec", {}).get("suspend"):
        queue = (owner["metadata"].get("labels") or {}).get("kueue.x-k8s.io/queue-name")
        if queue:
            return Diagnosis(f"Suspended: waits in the queue {queue}", "Wait, or use another queue.", True)
        return Diagnosis("Suspended: spec.suspend is set", "Set it to false to let the Job continue.", True)
    for event in reversed(events):
        if event.get("reason") == "SuccessfulCreate":
            return None
        if event.get("reason") == "FailedCreate":
            return Diagnosis(_line("FailedCreate", event.get("message")), _REFUSED)
    return None


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

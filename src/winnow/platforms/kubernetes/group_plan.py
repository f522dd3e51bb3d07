"""What a cluster is given to run a worker group, decided without one: a Job of as many pods as the group has nodes.

    Job      indexed; the supervisor is on index 0, whose success is the group's. Its name is the one that a group can
             have, by which a cluster refuses a second one.
    Secret   the addresses of the stores and the experiment's secrets, which the Job names and does not hold.
    Service  headless, where there are several pods: by it they find each other, also before they are ready.

Secret and Service carry the Job's name and belong to it, so that the cluster takes them away with it, whoever deletes
it and even when it does so by itself. What is in `k8s/train` is patched field by field; a person's own additions there,
and those in the experiment's `execution.kubernetes.pod`, stay.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from winnow.config.addresses import shown_value
from winnow.config.errors import InputError
from winnow.config.quantities import cpu_text, memory_text
from winnow.config.stack_record import PASSWORD
from winnow.platforms.executor import MASTER_PORT, WORKER_HOME, GroupResources, GroupSpec, Volume
from winnow.platforms.kubernetes.kinds import Manifest, name_of
from winnow.platforms.kubernetes.manifests import FieldPath, Named, changed, merged, named, to_yaml
from winnow.platforms.kubernetes.names import shortened
from winnow.platforms.kubernetes.pods import INDEX
from winnow.platforms.labels import GROUP, STUDY

BASE = "winnow-train"
"""What the Job and the Service in `k8s/train` are called."""
WORKER = "worker"
"""The container that is winnow's; any other in the pod is the person's."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's label for the LocalQueue that admits a Job (https://kueue.sigs.k8s.io/docs/tasks/run/jobs/)."""

_STORES = frozenset({"WINNOW_STORAGE", "MLFLOW_TRACKING_URI"})
_BY_HAND = _STORES | {PASSWORD}
"""Variables by which the manifest, applied by hand, finds the stack beside it; groups are told other addresses."""
_OF_SEVERAL = ("WINNOW_NODE", "WINNOW_NODES", "WINNOW_MASTER_ADDR", "WINNOW_MASTER_PORT")
_INDEX = {
    "name": "WINNOW_NODE",
    "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}},
}
DEFAULT_CPUS, DEFAULT_MEMORY_BYTES = 1.0, 2 * 2**30
"""What a pod may use where nobody says: without a limit it would be the first to be evicted."""
_LONGEST_NAME = 57
"""A pod's host name is its Job's with `-INDEX`, and may have 63 characters; an index has up to five."""


@dataclass(frozen=True)
class KubernetesSite:
    """What all groups on a cluster have in common.

    Attributes:
        image: the workers', as the cluster's nodes find it.
        manifests: the objects of `k8s/train`.
        labels: for all that is made, beside winnow's own.
    """

    image: str
    manifests: tuple[Manifest, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupObjects:
    """What a group consists of; `service` is None where it has one pod."""

    job: Manifest
    secret: Manifest = field(repr=False)
    service: Manifest | None

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All, in the order in which a person would apply them."""
        return (self.secret, *((self.service,) if self.service is not None else ()), self.job)

    def belonging_to(self, job: Manifest) -> tuple[Manifest, ...]:
        """Secret and Service as the property of a Job that exists."""
        owner = {
            "apiVersion": job["apiVersion"],
            "kind": job["kind"],
            "name": name_of(job),
            "uid": job["metadata"]["uid"],
        }
        return tuple(
            changed(manifest, {("metadata", "ownerReferences"): [owner]})
            for manifest in (self.secret, self.service)
            if manifest is not None
        )


def object_name(study: str, group: str) -> str:
    """What a group's objects are called; a long name is cut, and told from others by a hash of the whole."""
    return shortened(f"{BASE}-{study}-{group}", _LONGEST_NAME)


def plan_group(group: GroupSpec, site: KubernetesSite) -> GroupObjects:
    """The objects of a group.

    Raises:
        InputError: it mounts a folder of a host, or a manifest lacks what is patched.
    """
    _check_volumes(group.volumes)
    name, own = object_name(group.study, group.name), {**site.labels, STUDY: group.study, GROUP: group.name}
    base = named(site.manifests, "Job", BASE)
    labels = {**base["metadata"].get("labels", {}), **own}
    return GroupObjects(
        job=_job(base, group, site, name, own),
        secret={
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(_hidden(group).items())},
        },
        service=_service(named(site.manifests, "Service", BASE), group, name, own) if group.nodes > 1 else None,
    )


def render(groups: Iterable[GroupObjects]) -> list[str]:
    """Lines of YAML that `kubectl apply -f -` takes, but for the Secrets' values, which are starred."""
    return to_yaml(manifest for group in groups for manifest in group.manifests).splitlines()


def volume_claims(group: GroupSpec) -> tuple[str, ...]:
    """The volume claims that have to be there."""
    return tuple(dict.fromkeys(volume.source for volume in group.volumes))


# The Job


def _job(base: Manifest, group: GroupSpec, site: KubernetesSite, name: str, own: Mapping[str, str]) -> Manifest:
    wanted, pod = group.kubernetes, ("spec", "template", "spec")
    template = ("spec", "template", "metadata")
    queue = {QUEUE: wanted.queue} if wanted.queue is not None else {}
    changes: dict[FieldPath, Any] = {
        ("metadata", "name"): name,
        ("metadata", "labels"): {**base["metadata"].get("labels", {}), **own, **queue},
        # Kueue lets it go when it is its turn.
        ("spec", "suspend"): True if queue else None,
        ("spec", "completions"): group.nodes,
        ("spec", "parallelism"): group.nodes,
        ("spec", "backoffLimit"): wanted.backoff_limit,
        ("spec", "activeDeadlineSeconds"): wanted.deadline_s,
        ("spec", "ttlSecondsAfterFinished"): wanted.ttl_s,
        (*template, "labels"): {**_at(base, *template, "labels"), **own},
        (*template, "annotations"): {**_at(base, *template, "annotations"), **wanted.annotations} or None,
        (*pod, "subdomain"): name if group.nodes > 1 else None,
        (*pod, "nodeSelector"): {**_at(base, *pod, "nodeSelector"), **wanted.node_selector} or None,
        (*pod, "tolerations"): [*(_at(base, *pod).get("tolerations") or ()), *wanted.tolerations] or None,
        **({(*pod, "priorityClassName"): wanted.priority_class} if wanted.priority_class is not None else {}),
        **_volumes(_at(base, *pod), group),
        **_worker((*pod, "containers", Named(WORKER)), _worker_of(base), group, site, name),
    }
    job = changed(base, changes)
    return changed(job, {pod: merged(_at(job, *pod), wanted.pod)}) if wanted.pod else job


def _worker(
    path: FieldPath, base: Mapping[str, Any], group: GroupSpec, site: KubernetesSite, name: str
) -> dict[FieldPath, Any]:
    limits = _limits(group.resources, group.kubernetes.gpu_resource)
    return {
        (*path, "image"): site.image,
        (*path, "command"): [_literal(word) for word in group.argv],
        (*path, "args"): None,
        (*path, "env"): _env(base.get("env") or (), group, name),
        (*path, "resources"): {"limits": limits, "requests": {**limits, **group.kubernetes.requests}},
        (*path, "volumeMounts"): [*(base.get("volumeMounts") or ()), *_mounts(group.volumes)],
    }


def _env(base: Iterable[Manifest], group: GroupSpec, name: str) -> list[Manifest]:
    """The variables of the manifest, with those of the group in their places or after them."""
    secrets = _hidden(group)
    plain = {**{key: value for key, value in group.env.items() if key not in secrets}, "WINNOW_HOME": WORKER_HOME}
    if group.nodes > 1:
        plain |= {
            "WINNOW_NODES": str(group.nodes),
            "WINNOW_MASTER_ADDR": f"{name}-0.{name}",
            "WINNOW_MASTER_PORT": str(MASTER_PORT),
        }
    own: dict[str, Manifest] = {
        **({"WINNOW_NODE": _INDEX} if group.nodes > 1 else {}),
        **{key: {"name": key, "value": _literal(value)} for key, value in sorted(plain.items())},
        **{key: {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in sorted(secrets)},
    }
    meant_for_others = _BY_HAND if group.nodes > 1 else _BY_HAND.union(_OF_SEVERAL)
    kept = [variable for variable in base if variable["name"] in own or variable["name"] not in meant_for_others]
    known = {variable["name"] for variable in kept}
    return [
        *(own.get(variable["name"], variable) for variable in kept),
        *(variable for key, variable in own.items() if key not in known),
    ]


def _hidden(group: GroupSpec) -> dict[str, str]:
    """The variables whose values a Job must not show: secrets, stores, and whatever else has a password in it."""
    addresses = {key: value for key, value in group.env.items() if key in _STORES or shown_value(key, value) != value}
    return {**addresses, **group.secrets}


def _literal(text: str) -> str:
    """A text that means itself where a cluster puts in variables for `$(NAME)`."""
    return text.replace("$", "$$")


def _limits(resources: GroupResources, gpu_resource: str) -> dict[str, str]:
    cpus = resources.cpus if resources.cpus is not None else DEFAULT_CPUS
    memory_bytes = resources.memory_bytes if resources.memory_bytes is not None else DEFAULT_MEMORY_BYTES
    return {
        "cpu": cpu_text(cpus),
        "memory": memory_text(memory_bytes),
        # Which GPUs of a node they are the cluster decides.
        **({gpu_resource: str(len(resources.gpus))} if resources.gpus else {}),
    }


def _volumes(base: Mapping[str, Any], group: GroupSpec) -> dict[FieldPath, Any]:
    shm_bytes = group.resources.shm_bytes
    volumes = [
        merged(volume, {"emptyDir": {"sizeLimit": memory_text(shm_bytes)}})
        if volume["name"] == "shm" and shm_bytes is not None
        else volume
        for volume in base.get("volumes") or ()
    ]
    claims = [
        {
            "name": f"volume-{index}",
            "persistentVolumeClaim": {"claimName": volume.source, "readOnly": volume.is_read_only},
        }
        for index, volume in enumerate(group.volumes)
    ]
    return {("spec", "template", "spec", "volumes"): [*volumes, *claims]}


def _mounts(volumes: Sequence[Volume]) -> list[Manifest]:
    return [
        {"name": f"volume-{index}", "mountPath": volume.target, "readOnly": volume.is_read_only}
        for index, volume in enumerate(volumes)
    ]


def _check_volumes(volumes: Sequence[Volume]) -> None:
    for volume in volumes:
        if "/" in volume.source or "\\" in volume.source:
            raise InputError(
                "execution.volumes",
                expected="names of volume claims: pods may run on any machine",
                found=f"the folder {volume.source!r}",
                remedy="Put the files on a volume of the cluster and name its claim, or let workers fetch the data.",
            )


# The Service


def _service(base: Manifest, group: GroupSpec, name: str, own: Mapping[str, str]) -> Manifest:
    return changed(
        base,
        {
            ("metadata", "name"): name,
            ("metadata", "labels"): {**base["metadata"].get("labels", {}), **own},
            ("spec", "selector"): {STUDY: group.study, GROUP: group.name},
        },
    )


# The manifest


def _at(manifest: Manifest, *path: str) -> dict[str, Any]:
    """A map in a manifest; empty where it is not there."""
    place = manifest
    for part in path:
        place = place.get(part) or {}
    return place


def _worker_of(job: Manifest) -> Mapping[str, Any]:
    containers = _at(job, "spec", "template", "spec").get("containers") or ()
    return next((container for container in containers if container.get("name") == WORKER), {})

"""How a worker group is rendered for a cluster, decided without one: a Job of as many pods as the group has nodes.

    Job      indexed; the supervisor is on index 0, whose success is the group's. A group has one possible Job name, so
             a cluster refuses a second Job of the group.
    Secret   the addresses of the stores and the experiment's secrets, which the Job refers to and does not hold.
    Service  headless, where there are several pods: they find each other by it, also before they are ready.

Secret and Service have the Job's name and belong to it, so the cluster removes them with the Job, even when the Job's
time to live ends. The manifests in `k8s/train` are patched field by field. A person's own additions there, and those in
the experiment's `execution.kubernetes.pod`, stay. What every worker may do (user, read-only root, capabilities, grace
period) is in the manifest and can be changed there.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from winnow.config.addresses import shown_value
from winnow.config.errors import InputError
from winnow.config.experiment import KubernetesConfig
from winnow.config.quantities import cpu_text, memory_text
from winnow.config.stack_record import PASSWORD
from winnow.platforms.container import DEFAULT_CPUS, DEFAULT_MEMORY_BYTES, ContainerSpec, plan_containers
from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.platforms.kubernetes.kinds import Manifest, name_of, shortened
from winnow.platforms.kubernetes.manifests import FieldPath, Named, changed, merged, named, to_yaml
from winnow.platforms.kubernetes.pods import INDEX
from winnow.platforms.labels import GROUP, STUDY
from winnow.worker.variables import MASTER, MASTER_PORT, NODE, NODES

BASE = "winnow-train"
"""What the Job and the Service in `k8s/train` are called."""
WORKER = "worker"
"""Winnow's container; any other in the pod is the person's own."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's label for the LocalQueue that admits a Job (https://kueue.sigs.k8s.io/docs/tasks/run/jobs/)."""

_STORES = frozenset({"WINNOW_STORAGE", "MLFLOW_TRACKING_URI"})
_BY_HAND = _STORES | {PASSWORD}
"""Variables with which the manifest, applied by hand, finds the stack beside it; groups get other addresses."""
_OF_SEVERAL = (NODE, NODES, MASTER, MASTER_PORT)
_INDEX = {
    "name": NODE,
    "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}},
}
_LONGEST_NAME = 57
"""A pod's host name is its Job's with `-INDEX`, and may have 63 characters; an index has up to five."""


@dataclass(frozen=True)
class KubernetesWorkers:
    """What all workers on a cluster have in common.

    Attributes:
        image: the workers' image, as the cluster's nodes pull it.
        manifests: the objects of `k8s/train`.
        labels: for all objects, beside winnow's own.
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


def plan_group(group: GroupSpec, workers: KubernetesWorkers) -> GroupObjects:
    """The objects of a group.

    Raises:
        InputError: it mounts a folder of a host, or a manifest lacks what is patched.
    """
    _check_volumes(group.volumes)
    name = object_name(group.study, group.name)
    # The pods of a Job have one template: each reads its index from the annotation that the Job controller sets.
    node = plan_containers(group, workers.image, f"{name}-0.{name}", workers.labels)[0]
    base = named(workers.manifests, "Job", BASE)
    labels = {**base["metadata"].get("labels", {}), **node.labels}
    return GroupObjects(
        job=_job(base, node, pod_options(group), name),
        secret={
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels},
            "type": "Opaque",
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(_hidden(node).items())},
        },
        service=_service(named(workers.manifests, "Service", BASE), node, name) if node.nodes > 1 else None,
    )


def pod_options(group: GroupSpec) -> KubernetesConfig:
    """The section of the experiment that only pods have."""
    return group.options if isinstance(group.options, KubernetesConfig) else KubernetesConfig()


def render(groups: Iterable[GroupObjects]) -> list[str]:
    """Lines of YAML that `kubectl apply -f -` takes, but for the Secrets' values, which are starred."""
    return to_yaml(manifest for group in groups for manifest in group.manifests).splitlines()


def volume_claims(group: GroupSpec) -> tuple[str, ...]:
    """The volume claims that have to be there."""
    return tuple(dict.fromkeys(volume.source for volume in group.volumes))


# The Job


def _job(base: Manifest, node: ContainerSpec, options: KubernetesConfig, name: str) -> Manifest:
    pod, template = ("spec", "template", "spec"), ("spec", "template", "metadata")
    queue = {QUEUE: options.queue} if options.queue is not None else {}
    changes: dict[FieldPath, Any] = {
        ("metadata", "name"): name,
        ("metadata", "labels"): {**base["metadata"].get("labels", {}), **node.labels, **queue},
        # Kueue clears it when it admits the Job.
        ("spec", "suspend"): True if queue else None,
        ("spec", "completions"): node.nodes,
        ("spec", "parallelism"): node.nodes,
        ("spec", "backoffLimit"): options.backoff_limit,
        ("spec", "activeDeadlineSeconds"): options.deadline_s,
        ("spec", "ttlSecondsAfterFinished"): options.ttl_s,
        (*template, "labels"): {**_at(base, *template, "labels"), **node.labels},
        (*template, "annotations"): {**_at(base, *template, "annotations"), **options.annotations} or None,
        (*pod, "subdomain"): name if node.nodes > 1 else None,
        (*pod, "nodeSelector"): {**_at(base, *pod, "nodeSelector"), **options.node_selector} or None,
        (*pod, "tolerations"): [*(_at(base, *pod).get("tolerations") or ()), *options.tolerations] or None,
        **({(*pod, "priorityClassName"): options.priority_class} if options.priority_class is not None else {}),
        **_volumes(_at(base, *pod), node),
        **_worker((*pod, "containers", Named(WORKER)), _worker_of(base), node, options, name),
    }
    job = changed(base, changes)
    return changed(job, {pod: merged(_at(job, *pod), options.pod)}) if options.pod else job


def _worker(
    path: FieldPath, base: Mapping[str, Any], node: ContainerSpec, options: KubernetesConfig, name: str
) -> dict[FieldPath, Any]:
    limits = _limits(node.resources, options.gpu_resource)
    return {
        (*path, "image"): node.image,
        (*path, "command"): [_literal(word) for word in node.command],
        (*path, "args"): None,
        (*path, "env"): _env(base.get("env") or (), node, name),
        (*path, "resources"): {"limits": limits, "requests": {**limits, **options.requests}},
        (*path, "volumeMounts"): [*(base.get("volumeMounts") or ()), *_mounts(node.volumes)],
    }


def _env(base: Iterable[Manifest], node: ContainerSpec, name: str) -> list[Manifest]:
    """The variables of the manifest, with those of the group in their places or after them."""
    hidden = _hidden(node)
    plain = {key: value for key, value in node.environment.items() if key not in hidden}
    own: dict[str, Manifest] = {
        **{key: {"name": key, "value": _literal(value)} for key, value in sorted(plain.items())},
        **({NODE: _INDEX} if node.nodes > 1 else {}),
        **{key: {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in sorted(hidden)},
    }
    meant_for_others = _BY_HAND if node.nodes > 1 else _BY_HAND.union(_OF_SEVERAL)
    kept = [variable for variable in base if variable["name"] in own or variable["name"] not in meant_for_others]
    known = {variable["name"] for variable in kept}
    return [
        *(own.get(variable["name"], variable) for variable in kept),
        *(variable for key, variable in own.items() if key not in known),
    ]


def _hidden(node: ContainerSpec) -> dict[str, str]:
    """The variables whose values a Job must not show: secrets, addresses of stores, and any other with a password."""
    addresses = {
        key: value for key, value in node.environment.items() if key in _STORES or shown_value(key, value) != value
    }
    return {**addresses, **node.secrets}


def _literal(text: str) -> str:
    """A text as it is to arrive: a cluster replaces `$(NAME)` in it by a variable."""
    return text.replace("$", "$$")


def _limits(resources: GroupResources, gpu_resource: str) -> dict[str, str]:
    cpus = resources.cpus if resources.cpus is not None else DEFAULT_CPUS
    memory_bytes = resources.memory_bytes if resources.memory_bytes is not None else DEFAULT_MEMORY_BYTES
    return {
        "cpu": cpu_text(cpus),
        "memory": memory_text(memory_bytes),
        # The cluster decides which GPUs of a node they are.
        **({gpu_resource: str(len(resources.gpus))} if resources.gpus else {}),
    }


def _volumes(base: Mapping[str, Any], node: ContainerSpec) -> dict[FieldPath, Any]:
    shm_bytes = node.resources.shm_bytes
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
        for index, volume in enumerate(node.volumes)
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


def _service(base: Manifest, node: ContainerSpec, name: str) -> Manifest:
    return changed(
        base,
        {
            ("metadata", "name"): name,
            ("metadata", "labels"): {**base["metadata"].get("labels", {}), **node.labels},
            ("spec", "selector"): {STUDY: node.study, GROUP: node.group},
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

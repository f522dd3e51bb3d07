"""The objects of a worker group on a cluster, as a pure function.

    Job      indexed, with a pod per node. The supervisor runs in pod 0, whose success is the group's. A group has one
             possible Job name, so a cluster refuses a second Job of the group.
    Secret   the addresses of the stores and the experiment's secrets.
    Service  headless, if there are several pods: they find each other by it, even before they are ready.

Secret and Service have the Job's name and the Job as owner, so the cluster deletes them with it. The manifests in
`k8s/train` are patched field by field: own additions there, and those in the experiment's `execution.kubernetes.pod`,
stay. The security settings and the grace period of workers are in the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from winnow.config.addresses import shown_value
from winnow.config.errors import InputError
from winnow.config.experiment import KubernetesConfig
from winnow.config.quantities import cpu_text, memory_text
from winnow.config.stack_record import PASSWORD
from winnow.platforms.container import DEFAULT_CPUS, DEFAULT_MEMORY_BYTES, ContainerSpec, plan_containers
from winnow.platforms.executor import GroupSpec
from winnow.platforms.kubernetes.kinds import Manifest, owned, shortened
from winnow.platforms.kubernetes.manifests import FieldPath, Named, changed, merged, named, secret, to_yaml
from winnow.platforms.kubernetes.pods import INDEX
from winnow.platforms.labels import GROUP, STUDY
from winnow.worker.variables import MASTER, MASTER_PORT, NODE, NODES

BASE = "winnow-train"
"""The name of the Job and the Service in `k8s/train`."""
WORKER = "worker"
"""Winnow's container in the pod."""
QUEUE = "kueue.x-k8s.io/queue-name"
"""Kueue's label for the LocalQueue that admits a Job (https://kueue.sigs.k8s.io/docs/tasks/run/jobs/)."""

_STORES = frozenset({"WINNOW_STORAGE", "MLFLOW_TRACKING_URI"})
_BY_HAND = _STORES | {PASSWORD}
"""Variables in the manifest for applying it by hand beside a stack; groups get other addresses."""
_OF_SEVERAL = (NODE, NODES, MASTER, MASTER_PORT)
_INDEX = {
    "name": NODE,
    "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}},
}
_LONGEST_NAME = 57
"""A pod's host name is `JOB-INDEX`, with at most 63 characters, of which an index has up to five."""


@dataclass(frozen=True)
class KubernetesWorkers:
    """What all workers on a cluster have in common: the image, as nodes pull it, and the objects of `k8s/train`."""

    image: str
    manifests: tuple[Manifest, ...]


@dataclass(frozen=True)
class GroupObjects:
    """The objects of a group; a group of one pod has no Service."""

    job: Manifest
    secret: Manifest = field(repr=False)
    service: Manifest | None

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All, in the order in which they can be applied by hand."""
        return (self.secret, *((self.service,) if self.service is not None else ()), self.job)

    def belonging_to(self, job: Manifest) -> tuple[Manifest, ...]:
        """Secret and Service, owned by a Job that exists."""
        return tuple(owned(each, job) for each in (self.secret, self.service) if each is not None)


def object_name(study: str, group: str) -> str:
    """The name of a group's objects."""
    return shortened(f"{BASE}-{study}-{group}", _LONGEST_NAME)


def plan_group(group: GroupSpec, workers: KubernetesWorkers) -> GroupObjects:
    """The objects of a group.

    Raises:
        InputError: it mounts a folder of a host, or a manifest lacks what is patched.
    """
    for volume in group.volumes:
        if "/" in volume.source or "\\" in volume.source:
            raise InputError(
                "execution.volumes",
                expected="names of volume claims: pods may run on any machine",
                found=f"the folder {volume.source!r}",
                remedy="Put the files on a volume of the cluster and name its claim, or let workers fetch the data.",
            )
    name = object_name(group.study, group.name)
    # The pods of a Job have one template: each reads its index from the annotation that the Job controller sets.
    node = plan_containers(group, workers.image, f"{name}-0.{name}", {})[0]
    base = named(workers.manifests, "Job", BASE)
    labels = {**base["metadata"].get("labels", {}), **node.labels}
    service = None
    if node.nodes > 1:
        file = named(workers.manifests, "Service", BASE)
        service = changed(
            file,
            {
                ("metadata", "name"): name,
                ("metadata", "labels"): {**file["metadata"].get("labels", {}), **node.labels},
                ("spec", "selector"): {STUDY: node.study, GROUP: node.group},
            },
        )
    return GroupObjects(
        job=_job(base, node, pod_options(group), name),
        secret=secret(name, labels, dict(sorted(_hidden(node).items()))),
        service=service,
    )


def pod_options(group: GroupSpec) -> KubernetesConfig:
    """`execution.kubernetes` of the experiment."""
    return group.options if isinstance(group.options, KubernetesConfig) else KubernetesConfig()


def render(groups: Iterable[GroupObjects]) -> list[str]:
    """Lines of YAML for `kubectl apply -f -`, with asterisks for the values of Secrets."""
    return to_yaml(manifest for group in groups for manifest in group.manifests).splitlines()


def volume_claims(group: GroupSpec) -> tuple[str, ...]:
    """The volume claims that have to exist."""
    return tuple(dict.fromkeys(volume.source for volume in group.volumes))


def _job(base: Manifest, node: ContainerSpec, options: KubernetesConfig, name: str) -> Manifest:
    pod, template = ("spec", "template", "spec"), ("spec", "template", "metadata")
    worker: FieldPath = (*pod, "containers", Named(WORKER))
    own: Manifest = next((each for each in _at(base, *pod).get("containers") or () if each.get("name") == WORKER), {})
    queue = {QUEUE: options.queue} if options.queue is not None else {}
    resources = node.resources
    limits = {
        "cpu": cpu_text(resources.cpus if resources.cpus is not None else DEFAULT_CPUS),
        "memory": memory_text(resources.memory_bytes if resources.memory_bytes is not None else DEFAULT_MEMORY_BYTES),
        # The cluster chooses the GPUs.
        **({options.gpu_resource: str(len(resources.gpus))} if resources.gpus else {}),
    }
    volumes, mounts = _volumes(_at(base, *pod), node)
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
        (*pod, "volumes"): volumes,
        (*worker, "image"): node.image,
        (*worker, "command"): [_literal(word) for word in node.command],
        (*worker, "args"): None,
        (*worker, "env"): _env(own.get("env") or (), node, name),
        (*worker, "resources"): {"limits": limits, "requests": {**limits, **options.requests}},
        (*worker, "volumeMounts"): [*(own.get("volumeMounts") or ()), *mounts],
    }
    job = changed(base, changes)
    return changed(job, {pod: merged(_at(job, *pod), options.pod)}) if options.pod else job


def _env(base: Iterable[Manifest], node: ContainerSpec, name: str) -> list[Manifest]:
    """The variables of the manifest, with those of the group in place of them or after them."""
    hidden = _hidden(node)
    plain = {key: value for key, value in node.environment.items() if key not in hidden}
    own: dict[str, Manifest] = {
        **{key: {"name": key, "value": _literal(value)} for key, value in sorted(plain.items())},
        **({NODE: _INDEX} if node.nodes > 1 else {}),
        **{key: {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}} for key in sorted(hidden)},
    }
    dropped = _BY_HAND if node.nodes > 1 else _BY_HAND.union(_OF_SEVERAL)
    kept = [variable for variable in base if variable["name"] in own or variable["name"] not in dropped]
    known = {variable["name"] for variable in kept}
    return [
        *(own.get(variable["name"], variable) for variable in kept),
        *(variable for key, variable in own.items() if key not in known),
    ]


def _hidden(node: ContainerSpec) -> dict[str, str]:
    """The variables for the Secret: secrets, addresses of stores, and any other value with a password."""
    addresses = {
        key: value for key, value in node.environment.items() if key in _STORES or shown_value(key, value) != value
    }
    return {**addresses, **node.secrets}


def _literal(text: str) -> str:
    """Escape a text: a cluster replaces `$(NAME)` by a variable."""
    return text.replace("$", "$$")


def _volumes(base: Mapping[str, Any], node: ContainerSpec) -> tuple[list[Manifest], list[Manifest]]:
    """The pod's volumes, and the worker's mounts of those that the experiment names."""
    shm_bytes = node.resources.shm_bytes
    volumes = [
        merged(volume, {"emptyDir": {"sizeLimit": memory_text(shm_bytes)}})
        if volume["name"] == "shm" and shm_bytes is not None
        else volume
        for volume in base.get("volumes") or ()
    ]
    mounts = []
    for index, volume in enumerate(node.volumes):
        name, read_only = f"volume-{index}", volume.is_read_only
        claim = {"claimName": volume.source, "readOnly": read_only}
        volumes.append({"name": name, "persistentVolumeClaim": claim})
        mounts.append({"name": name, "mountPath": volume.target, "readOnly": read_only})
    return volumes, mounts


def _at(manifest: Manifest, *path: str) -> dict[str, Any]:
    place = manifest
    for part in path:
        place = place.get(part) or {}
    return place

"""One node of a worker group as a container, for every platform.

An executor plans a group as one `ContainerSpec` per node and renders each as its platform takes it: a request to an
engine, the template of a pod. Names of objects, networks, restarts and logs are left to the rendering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.platforms.labels import GROUP, STUDY
from winnow.worker.variables import MASTER, MASTER_PORT, NODE, NODES

WORKER_HOME = "/winnow"
"""WINNOW_HOME in a container. It goes with the container: everything that has to last is in the study."""

RENDEZVOUS_PORT = 29400
"""Port on which the first of several nodes waits for the others; torchrun's usual one."""

USER = "10001:10001"
"""`uid:gid` of a worker; needs no name in the image. `k8s/train` sets the same."""
STOP_GRACE_S = 30.0
"""Time for a worker to hand back its trial when its container is stopped by hand. `k8s/train` sets the same."""
SHM_BYTES = 256 * 2**20
"""`/dev/shm` where the experiment does not say. `k8s/train` sets the same."""

DEFAULT_CPUS, DEFAULT_MEMORY_BYTES = 1.0, 2 * 2**30
"""Limits where a scheduler picks the machine and the experiment sets none: a node without limits is evicted first."""


@dataclass(frozen=True)
class ContainerSpec:
    """One node of a worker group.

    Attributes:
        index, nodes: which node this is, and how many the group has; the supervisor is on node 0.
        environment: variables for the container; addresses in them may hold passwords.
        secrets: further variables, whose values no plan, log or error shows.
        labels: those by which any process finds the group's objects, and the caller's.
    """

    study: str
    group: str
    index: int
    nodes: int
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str]
    resources: GroupResources
    volumes: tuple[Volume, ...]


def plan_containers(
    group: GroupSpec, image: str, master_address: str, labels: Mapping[str, str]
) -> tuple[ContainerSpec, ...]:
    """The containers of a group, by the index of their node.

    Args:
        master_address: where the other nodes find node 0; not used where there is one node.
        labels: for all objects of the group, beside winnow's own.
    """
    rendezvous = {NODES: str(group.nodes), MASTER: master_address, MASTER_PORT: str(RENDEZVOUS_PORT)}
    return tuple(
        ContainerSpec(
            study=group.study,
            group=group.name,
            index=index,
            nodes=group.nodes,
            image=image,
            command=group.argv,
            environment={
                **group.env,
                "WINNOW_HOME": WORKER_HOME,
                **({NODE: str(index), **rendezvous} if group.nodes > 1 else {}),
            },
            secrets=group.secrets,
            labels={**labels, STUDY: group.study, GROUP: group.name},
            resources=group.resources,
            volumes=group.volumes,
        )
        for index in range(group.nodes)
    )

"""How a worker group is rendered for a Docker engine: values and pure functions only.

A group is one container per node, `winnow-STUDY-GROUP-NODE`. Groups of several nodes also have a network of their own,
`winnow-STUDY-GROUP`, on which the nodes find each other by name and which leads nowhere else. An engine takes requests
as JSON; `container_body` is that JSON, so tests compare what is sent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.platforms.container import SHM_BYTES, STOP_GRACE_S, USER, WORKER_HOME, ContainerSpec, plan_containers
from winnow.platforms.docker.container_request import LOCKED_DOWN, cpu_limit, docker_command, memory_limit
from winnow.platforms.executor import GroupSpec, Volume
from winnow.platforms.labels import NODE

NODES = "winnow.nodes"
"""Label: how many nodes the container's group has, so that a missing one is noticed."""

_LONGEST_HOSTNAME = 63
_MOST_PROCESSES = 4096
"""Processes and threads that one node may have."""


@dataclass(frozen=True)
class DockerWorkers:
    """What all workers on an engine have in common.

    Attributes:
        network: on which workers reach the study and the tracking server; None: Docker's own.
        restarts: how often the engine restarts a failed node by itself.
    """

    image: str
    network: str | None = None
    restarts: int = 3


@dataclass(frozen=True)
class GroupRequest:
    """A whole group: its nodes by index, and the name of the bridge between them, if it needs one.

    The bridge has the nodes' labels. It is internal: nothing outside it is reached through it.
    """

    workers: DockerWorkers
    network: str | None
    nodes: tuple[ContainerSpec, ...]


def plan_group(group: GroupSpec, workers: DockerWorkers) -> GroupRequest:
    master = hostname(f"winnow-{group.study}-{group.name}-0")
    nodes = plan_containers(group, workers.image, master, {})
    network = f"winnow-{group.study}-{group.name}" if group.nodes > 1 else None
    return GroupRequest(workers, network, nodes)


def container_name(node: ContainerSpec) -> str:
    """The one name that a node's container can have, by which an engine refuses a second one."""
    return f"winnow-{node.study}-{node.group}-{node.index}"


def container_labels(node: ContainerSpec) -> Mapping[str, str]:
    return {**node.labels, NODE: str(node.index), NODES: str(node.nodes)}


def hostname(name: str) -> str:
    """A container's name as its host name, also on its group's network.

    Kernel and DNS refuse one of more than 63 characters; the end of the name tells nodes apart.
    """
    return name[-_LONGEST_HOSTNAME:].lstrip("-")


def container_body(node: ContainerSpec, workers: DockerWorkers) -> dict[str, Any]:
    uid, _, gid = USER.partition(":")
    asked = node.resources
    host: dict[str, Any] = {
        **LOCKED_DOWN,
        "NetworkMode": workers.network or "default",
        "Mounts": [_mount(volume) for volume in node.volumes],
        "Tmpfs": {
            # Compilers of kernels (torch.compile, Triton) load what they have just written there.
            "/tmp": "rw,exec,nosuid,nodev,mode=1777",
            WORKER_HOME: f"rw,noexec,nosuid,nodev,mode=0700,uid={uid},gid={gid}",
        },
        # The engine takes on-failure with a count of 0 for "without end".
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": workers.restarts}
        if workers.restarts
        else {"Name": "no"},
        "ShmSize": asked.shm_bytes or SHM_BYTES,
        "PidsLimit": _MOST_PROCESSES,
    }
    if asked.cpus is not None:
        host |= cpu_limit(asked.cpus)
    if asked.memory_bytes is not None:
        host |= memory_limit(asked.memory_bytes)
    if asked.gpus:
        host["DeviceRequests"] = [{"DeviceIDs": list(asked.gpus), "Capabilities": [["gpu"]]}]
    return {
        "Image": node.image,
        "Cmd": list(node.command),
        "Env": [f"{name}={value}" for name, value in sorted({**node.environment, **node.secrets}.items())],
        "Labels": dict(container_labels(node)),
        "Hostname": hostname(container_name(node)),
        "User": USER,
        "StopTimeout": math.ceil(STOP_GRACE_S),
        "HostConfig": host,
    }


def is_folder(volume: Volume) -> bool:
    """Whether its source is a folder of the Docker host, not a named volume."""
    return "/" in volume.source or "\\" in volume.source


def _mount(volume: Volume) -> dict[str, Any]:
    kind = "bind" if is_folder(volume) else "volume"
    return {"Type": kind, "Source": volume.source, "Target": volume.target, "ReadOnly": volume.is_read_only}


def render(request: GroupRequest) -> list[str]:
    """The group as `docker` commands that can be pasted, without passwords and secrets."""

    def command(verb: str, node: ContainerSpec) -> str:
        return docker_command(verb, container_name(node), container_body(node, request.workers), node.secrets.keys())

    if request.network is None:
        return [command("docker run --detach", node) for node in request.nodes]
    found = request.nodes[0].labels.items()
    labels = (part for name, value in found for part in ("--label", f"{name}={value}"))
    lines = [shlex.join(("docker", "network", "create", "--internal", *labels, request.network))]
    names = [container_name(node) for node in request.nodes]
    for node, name in zip(request.nodes, names, strict=True):
        join = ("docker", "network", "connect", "--alias", hostname(name), request.network, name)
        lines += [command("docker create", node), shlex.join(join)]
    return [*lines, shlex.join(("docker", "start", *names))]

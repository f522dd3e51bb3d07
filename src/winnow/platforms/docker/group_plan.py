"""How a worker group is rendered for a Docker engine: values and pure functions only.

A group is one container per node, `winnow-STUDY-GROUP-NODE`. Groups of several nodes also have a network of their own,
`winnow-STUDY-GROUP`, on which the nodes find each other by name and which leads nowhere else. An engine takes requests
as JSON; `container_body` is that JSON, so tests compare what is sent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from winnow.config.addresses import shown_value
from winnow.platforms.container import SHM_BYTES, STOP_GRACE_S, USER, WORKER_HOME, ContainerSpec, plan_containers
from winnow.platforms.executor import GroupSpec, Volume
from winnow.platforms.labels import NODE

NODES = "winnow.nodes"
"""Label: how many nodes the container's group has, so that a missing one is noticed."""

_LONGEST_HOSTNAME = 63
_CAPABILITIES_DROPPED = ("ALL",)
_SECURITY_OPTIONS = ("no-new-privileges",)


@dataclass(frozen=True)
class DockerWorkers:
    """What all workers on an engine have in common.

    Attributes:
        image: the workers' image, by name or id.
        network: on which workers reach the study and the tracking server; None: Docker's own.
        user: `uid:gid`, which need not have names in the image.
        shm_bytes: `/dev/shm` of a group that asks for nothing else.
        pids: processes and threads that one node may have.
        restarts: how often the engine restarts a failed node by itself.
        stop_grace_s: time for a worker to hand back its trial after `docker stop`.
        log_file_bytes, log_files: size at which a container's log begins a new file, and how many files are kept.
        labels: for all objects, beside winnow's own.
    """

    image: str
    network: str | None = None
    user: str = USER
    shm_bytes: int = SHM_BYTES
    pids: int = 4096
    restarts: int = 3
    stop_grace_s: float = STOP_GRACE_S
    log_file_bytes: int = 10 * 2**20
    log_files: int = 3
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkRequest:
    """A bridge between the nodes of one group; internal: nothing outside it is reached through it."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class GroupRequest:
    """A whole group: its network, if it needs one, and its nodes by index."""

    workers: DockerWorkers
    network: NetworkRequest | None
    nodes: tuple[ContainerSpec, ...]


def plan_group(group: GroupSpec, workers: DockerWorkers) -> GroupRequest:
    """The requests that start a group."""
    master = hostname(_name(group.study, group.name, 0))
    nodes = plan_containers(group, workers.image, master, workers.labels)
    network = NetworkRequest(f"winnow-{group.study}-{group.name}", nodes[0].labels) if group.nodes > 1 else None
    return GroupRequest(workers, network, nodes)


def container_name(node: ContainerSpec) -> str:
    """The one name that a node's container can have, by which an engine refuses a second one."""
    return _name(node.study, node.group, node.index)


def container_labels(node: ContainerSpec) -> Mapping[str, str]:
    """The labels of a node's container."""
    return {**node.labels, NODE: str(node.index), NODES: str(node.nodes)}


def hostname(name: str) -> str:
    """A container's name as its host name, also on its group's network.

    Kernel and DNS refuse one of more than 63 characters; the end of the name tells nodes apart.
    """
    return name[-_LONGEST_HOSTNAME:].lstrip("-")


def _name(study: str, group: str, index: int) -> str:
    return f"winnow-{study}-{group}-{index}"


# What the engine is sent


def container_body(node: ContainerSpec, workers: DockerWorkers) -> dict[str, Any]:
    """The body of `POST /containers/create`, Engine API 1.41 (Docker 20.10)."""
    return {
        "Image": node.image,
        "Cmd": list(node.command),
        "Env": [f"{name}={value}" for name, value in sorted({**node.environment, **node.secrets}.items())],
        "Labels": dict(container_labels(node)),
        "Hostname": hostname(container_name(node)),
        "User": workers.user,
        "StopTimeout": math.ceil(workers.stop_grace_s),
        "HostConfig": {
            "NetworkMode": workers.network or "default",
            "Mounts": [_mount(volume) for volume in node.volumes],
            "Tmpfs": dict(_tmpfs(workers.user)),
            "ReadonlyRootfs": True,
            "CapDrop": list(_CAPABILITIES_DROPPED),
            "SecurityOpt": list(_SECURITY_OPTIONS),
            "RestartPolicy": _restart_policy(workers.restarts),
            "LogConfig": {"Type": "json-file", "Config": dict(_log_options(workers))},
            **_limits(node, workers),
        },
    }


def _tmpfs(user: str) -> Mapping[str, str]:
    uid, _, gid = user.partition(":")
    return {
        # Compilers of kernels (torch.compile, Triton) load what they have just written there.
        "/tmp": "rw,exec,nosuid,nodev,mode=1777",
        WORKER_HOME: f"rw,noexec,nosuid,nodev,mode=0700,uid={uid},gid={gid or uid}",
    }


def _log_options(workers: DockerWorkers) -> Mapping[str, str]:
    return {"max-size": str(workers.log_file_bytes), "max-file": str(workers.log_files)}


def _nano_cpus(cpus: float) -> int:
    return round(cpus * 1e9)


def _restart_policy(restarts: int) -> dict[str, Any]:
    # For the engine, on-failure with a count of 0 is without end.
    return {"Name": "on-failure", "MaximumRetryCount": restarts} if restarts else {"Name": "no"}


def _limits(node: ContainerSpec, workers: DockerWorkers) -> dict[str, Any]:
    asked = node.resources
    limits: dict[str, Any] = {"ShmSize": asked.shm_bytes or workers.shm_bytes, "PidsLimit": workers.pids}
    if asked.cpus is not None:
        limits["NanoCpus"] = _nano_cpus(asked.cpus)
    if asked.memory_bytes is not None:
        # Also the limit of memory and swap together: a worker must not swap.
        limits |= {"Memory": asked.memory_bytes, "MemorySwap": asked.memory_bytes}
    if asked.gpus:
        limits["DeviceRequests"] = [{"DeviceIDs": list(asked.gpus), "Capabilities": [["gpu"]]}]
    return limits


def is_folder(volume: Volume) -> bool:
    """Whether its source is a folder of the Docker host, not a named volume."""
    return "/" in volume.source or "\\" in volume.source


def _mount(volume: Volume) -> dict[str, Any]:
    kind = "bind" if is_folder(volume) else "volume"
    return {"Type": kind, "Source": volume.source, "Target": volume.target, "ReadOnly": volume.is_read_only}


# What people are shown


def render(request: GroupRequest) -> list[str]:
    """The same as `docker` commands that can be pasted, with passwords masked.

    Secrets are named only: `docker` takes their values from the environment of the shell.
    """
    workers, network = request.workers, request.network
    if network is None:
        return [_command("docker run --detach", node, workers) for node in request.nodes]
    lines = [shlex.join(("docker", "network", "create", "--internal", *_labels(network.labels), network.name))]
    names = [container_name(node) for node in request.nodes]
    for node, name in zip(request.nodes, names, strict=True):
        join = ("docker", "network", "connect", "--alias", hostname(name), network.name, name)
        lines += [_command("docker create", node, workers), shlex.join(join)]
    return [*lines, shlex.join(("docker", "start", *names))]


def _command(verb: str, node: ContainerSpec, workers: DockerWorkers) -> str:
    name, asked = container_name(node), node.resources
    flags = (
        *("--name", name, "--hostname", hostname(name)),
        *(("--network", workers.network) if workers.network is not None else ()),
        *_labels(container_labels(node)),
        *("--user", workers.user, "--read-only"),
        *(part for path, options in _tmpfs(workers.user).items() for part in ("--tmpfs", f"{path}:{options}")),
        *(part for volume in node.volumes for part in ("--mount", _mount_flag(volume))),
        *(part for capability in _CAPABILITIES_DROPPED for part in ("--cap-drop", capability)),
        *(part for option in _SECURITY_OPTIONS for part in ("--security-opt", option)),
        *(("--cpus", f"{_nano_cpus(asked.cpus) / 1e9:g}") if asked.cpus is not None else ()),
        *_memory_flags(asked.memory_bytes),
        *("--shm-size", str(asked.shm_bytes or workers.shm_bytes), "--pids-limit", str(workers.pids)),
        *(("--gpus", f'"device={",".join(asked.gpus)}"') if asked.gpus else ()),
        *("--restart", f"on-failure:{workers.restarts}" if workers.restarts else "no"),
        *("--stop-timeout", str(math.ceil(workers.stop_grace_s))),
        *("--log-driver", "json-file"),
        *(part for name, value in _log_options(workers).items() for part in ("--log-opt", f"{name}={value}")),
    )
    variables = [
        *(f"--env {name}={shlex.quote(shown_value(name, value))}" for name, value in sorted(node.environment.items())),
        *(f"--env {name}" for name in sorted(node.secrets)),
    ]
    return " ".join((verb, shlex.join(flags), *variables, shlex.join((node.image, *node.command))))


def _memory_flags(memory_bytes: int | None) -> Sequence[str]:
    return ("--memory", str(memory_bytes), "--memory-swap", str(memory_bytes)) if memory_bytes is not None else ()


def _labels(labels: Mapping[str, str]) -> Sequence[str]:
    return [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]


def _mount_flag(volume: Volume) -> str:
    kind = "bind" if is_folder(volume) else "volume"
    read_only = ",readonly" if volume.is_read_only else ""
    return f"type={kind},source={volume.source},target={volume.target}{read_only}"

"""What a worker group is on a Docker engine, and what starting one will ask of it: values and pure functions only.

A group is one container per node, `winnow-STUDY-GROUP-NODE`. Groups of several nodes have a network of their own as
well, `winnow-STUDY-GROUP`, on which the nodes find each other by name and which leads nowhere else. Engines take
requests as JSON; `container_body` is that JSON, so what a test compares is what is sent.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from winnow.config.addresses import shown_value
from winnow.platforms.executor import MASTER_PORT, WORKER_HOME, GroupSpec, Volume
from winnow.platforms.labels import GROUP, NODE, STUDY

NODES = "winnow.nodes"
"""Label: how many nodes the container's group has, so that one that is gone is missed."""

_LONGEST_HOSTNAME = 63


@dataclass(frozen=True)
class DockerSite:
    """What all groups on an engine have in common.

    Attributes:
        image: the workers' image, by name or id.
        network: on which workers reach the study and the tracking server; None: Docker's own.
        user: `uid:gid`, which need not have names in the image.
        shm_bytes: `/dev/shm` of a group that asks for nothing else.
        pids: processes and threads that one node may have.
        restarts: how often the engine starts a node again that has failed, without anybody having to watch.
        stop_grace_s: what a worker is given to hand back its trial when somebody uses `docker stop`.
        log_file_bytes, log_files: after how much a container's log begins a new file, and how many are kept.
        labels: for all that is made, beside winnow's own.
    """

    image: str
    network: str | None = None
    user: str = "10001:10001"
    shm_bytes: int = 256 * 2**20
    pids: int = 4096
    restarts: int = 3
    stop_grace_s: float = 30.0
    log_file_bytes: int = 10 * 2**20
    log_files: int = 3
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkRequest:
    """A bridge between the nodes of one group; internal: nothing outside it is reached through it."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class ContainerRequest:
    """One node.

    Attributes:
        hostname: also what other nodes find it by, on the network that it joins.
        secrets: variables as those of `environment`, whose values are not shown to people.
        network: the one it is made on, None for Docker's own; `joins`: the group's own, connected before it starts.
        tmpfs: what can be written to, and how.
        nano_cpus: 10⁻⁹ CPUs; None: no limit.
        memory_bytes: also the limit of memory and swap together, so that swapping does not blur it.
        gpus: indexes or ids of the host's GPUs.
    """

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str]
    hostname: str
    user: str
    network: str | None
    joins: str | None
    volumes: tuple[Volume, ...]
    tmpfs: Mapping[str, str]
    nano_cpus: int | None
    memory_bytes: int | None
    shm_bytes: int
    pids: int
    gpus: tuple[str, ...]
    restarts: int
    stop_timeout_s: int
    log_options: Mapping[str, str]
    is_read_only: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    security_opt: tuple[str, ...] = ("no-new-privileges",)


@dataclass(frozen=True)
class GroupRequest:
    """A whole group: its network, if it needs one, and its nodes by index."""

    study: str
    name: str
    network: NetworkRequest | None
    containers: tuple[ContainerRequest, ...]


def container_name(study: str, group: str, node: int) -> str:
    """The one name that a node's container can have, by which an engine refuses a second one."""
    return f"winnow-{study}-{group}-{node}"


def hostname(name: str) -> str:
    """A container's name as its host name, also on its group's network.

    Kernel and DNS refuse one of more than 63 characters; what tells nodes apart stands at the end.
    """
    return name[-_LONGEST_HOSTNAME:].lstrip("-")


def plan_group(group: GroupSpec, site: DockerSite) -> GroupRequest:
    """The requests that start a group."""
    labels = {**site.labels, STUDY: group.study, GROUP: group.name}
    network = NetworkRequest(f"winnow-{group.study}-{group.name}", labels) if group.nodes > 1 else None
    return GroupRequest(
        group.study,
        group.name,
        network,
        tuple(_container(group, site, labels, network, node) for node in range(group.nodes)),
    )


def _container(
    group: GroupSpec, site: DockerSite, labels: Mapping[str, str], network: NetworkRequest | None, node: int
) -> ContainerRequest:
    name = container_name(group.study, group.name, node)
    resources = group.resources
    return ContainerRequest(
        name=name,
        image=site.image,
        command=group.argv,
        environment={**group.env, "WINNOW_HOME": WORKER_HOME, **_place(group, node)},
        secrets=group.secrets,
        labels={**labels, NODE: str(node), NODES: str(group.nodes)},
        hostname=hostname(name),
        user=site.user,
        network=site.network,
        joins=network.name if network is not None else None,
        volumes=group.volumes,
        tmpfs=_tmpfs(site.user),
        nano_cpus=round(resources.cpus * 1e9) if resources.cpus is not None else None,
        memory_bytes=resources.memory_bytes,
        shm_bytes=resources.shm_bytes or site.shm_bytes,
        pids=site.pids,
        gpus=resources.gpus,
        restarts=site.restarts,
        stop_timeout_s=math.ceil(site.stop_grace_s),
        log_options={"max-size": str(site.log_file_bytes), "max-file": str(site.log_files)},
    )


def _place(group: GroupSpec, node: int) -> Mapping[str, str]:
    """Where a node stands among the others; nothing where there are none."""
    if group.nodes == 1:
        return {}
    return {
        "WINNOW_NODE": str(node),
        "WINNOW_NODES": str(group.nodes),
        "WINNOW_MASTER_ADDR": hostname(container_name(group.study, group.name, 0)),
        "WINNOW_MASTER_PORT": str(MASTER_PORT),
    }


def _tmpfs(user: str) -> Mapping[str, str]:
    uid, _, gid = user.partition(":")
    return {
        # Compilers of kernels (torch.compile, Triton) load what they have just written there.
        "/tmp": "rw,exec,nosuid,nodev,mode=1777",
        WORKER_HOME: f"rw,noexec,nosuid,nodev,mode=0700,uid={uid},gid={gid or uid}",
    }


# What the engine is sent


def container_body(request: ContainerRequest) -> dict[str, Any]:
    """The body of `POST /containers/create`, Engine API 1.41 (Docker 20.10)."""
    return {
        "Image": request.image,
        "Cmd": list(request.command),
        "Env": [f"{name}={value}" for name, value in sorted({**request.environment, **request.secrets}.items())],
        "Labels": dict(request.labels),
        "Hostname": request.hostname,
        "User": request.user,
        "StopTimeout": request.stop_timeout_s,
        "HostConfig": {
            "NetworkMode": request.network or "default",
            "Mounts": [_mount(volume) for volume in request.volumes],
            "Tmpfs": dict(request.tmpfs),
            "ReadonlyRootfs": request.is_read_only,
            "CapDrop": list(request.cap_drop),
            "SecurityOpt": list(request.security_opt),
            "RestartPolicy": _restart_policy(request.restarts),
            "LogConfig": {"Type": "json-file", "Config": dict(request.log_options)},
            **_limits(request),
        },
    }


def _restart_policy(restarts: int) -> dict[str, Any]:
    # For the engine, on-failure with a count of 0 is without end.
    return {"Name": "on-failure", "MaximumRetryCount": restarts} if restarts else {"Name": "no"}


def _limits(request: ContainerRequest) -> dict[str, Any]:
    limits: dict[str, Any] = {"ShmSize": request.shm_bytes, "PidsLimit": request.pids}
    if request.nano_cpus is not None:
        limits["NanoCpus"] = request.nano_cpus
    if request.memory_bytes is not None:
        limits |= {"Memory": request.memory_bytes, "MemorySwap": request.memory_bytes}
    if request.gpus:
        limits["DeviceRequests"] = [{"DeviceIDs": list(request.gpus), "Capabilities": [["gpu"]]}]
    return limits


def is_folder(volume: Volume) -> bool:
    """Whether its source is a folder of the Docker host, not a named volume."""
    return "/" in volume.source or "\\" in volume.source


def _mount(volume: Volume) -> dict[str, Any]:
    kind = "bind" if is_folder(volume) else "volume"
    return {"Type": kind, "Source": volume.source, "Target": volume.target, "ReadOnly": volume.is_read_only}


# What people are shown


def render(request: GroupRequest) -> list[str]:
    """The same as `docker` commands that can be pasted, but for passwords, which are masked.

    Secrets are named only: `docker` then takes their values from the environment of whoever pastes them.
    """
    if request.network is None:
        return [_command("docker run --detach", container) for container in request.containers]
    lines = [
        shlex.join(
            ("docker", "network", "create", "--internal", *_labels(request.network.labels), request.network.name)
        )
    ]
    for container in request.containers:
        join = ("docker", "network", "connect", "--alias", container.hostname, request.network.name, container.name)
        lines += [_command("docker create", container), shlex.join(join)]
    return [*lines, shlex.join(("docker", "start", *(container.name for container in request.containers)))]


def _command(verb: str, request: ContainerRequest) -> str:
    flags = (
        *("--name", request.name, "--hostname", request.hostname),
        *(("--network", request.network) if request.network is not None else ()),
        *_labels(request.labels),
        *("--user", request.user),
        *(("--read-only",) if request.is_read_only else ()),
        *(part for path, options in request.tmpfs.items() for part in ("--tmpfs", f"{path}:{options}")),
        *(part for volume in request.volumes for part in ("--mount", _mount_flag(volume))),
        *(part for capability in request.cap_drop for part in ("--cap-drop", capability)),
        *(part for option in request.security_opt for part in ("--security-opt", option)),
        *(("--cpus", f"{request.nano_cpus / 1e9:g}") if request.nano_cpus is not None else ()),
        *_memory_flags(request.memory_bytes),
        *("--shm-size", str(request.shm_bytes), "--pids-limit", str(request.pids)),
        *(("--gpus", f'"device={",".join(request.gpus)}"') if request.gpus else ()),
        *("--restart", f"on-failure:{request.restarts}" if request.restarts else "no"),
        *("--stop-timeout", str(request.stop_timeout_s)),
        *("--log-driver", "json-file"),
        *(part for name, value in request.log_options.items() for part in ("--log-opt", f"{name}={value}")),
    )
    variables = [
        *(
            f"--env {name}={shlex.quote(shown_value(name, value))}"
            for name, value in sorted(request.environment.items())
        ),
        *(f"--env {name}" for name in sorted(request.secrets)),
    ]
    return " ".join((verb, shlex.join(flags), *variables, shlex.join((request.image, *request.command))))


def _memory_flags(memory_bytes: int | None) -> Sequence[str]:
    return ("--memory", str(memory_bytes), "--memory-swap", str(memory_bytes)) if memory_bytes is not None else ()


def _labels(labels: Mapping[str, str]) -> Sequence[str]:
    return [part for name, value in labels.items() for part in ("--label", f"{name}={value}")]


def _mount_flag(volume: Volume) -> str:
    kind = "bind" if is_folder(volume) else "volume"
    read_only = ",readonly" if volume.is_read_only else ""
    return f"type={kind},source={volume.source},target={volume.target}{read_only}"

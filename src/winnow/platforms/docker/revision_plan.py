"""What a deployment on Docker is made of: names, and the containers to start. Pure.

container  winnow-prod-NAME-NUMBER-I         replica I of a revision; host name `replica-NUMBER-I` on the network
           winnow-prod-NAME-router-SERIAL-I  router I of a route; host name `router-SERIAL-I`
           winnow-prod-NAME-proxy            Traefik: the entry, published at one port of this machine
network    winnow-prod-NAME                  of these containers alone; nothing leaves it; its label names the folder
HOME/deployments/docker/NAME/routes/         mounted into Traefik; its file holds the record and the routes
                             keys/           API keys by fingerprint, for revisions without replicas
                             wish            what a person asked a rollout to do
                             lock            held while a process changes the deployment
                             logs/           of replicas that are gone

Everything is found by label, so a deployment is the same one from every terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.platforms.api_key import API_KEY
from winnow.platforms.container import USER
from winnow.platforms.deployer import revision_in
from winnow.platforms.docker import traefik
from winnow.platforms.docker.container_request import LOCKED_DOWN, cpu_limit, docker_command, memory_limit
from winnow.platforms.docker.traefik import Backend
from winnow.platforms.labels import DEPLOYMENT, FOLDER_ID, REVISION, REVISION_JSON, ROLE, SERIAL
from winnow.routing import Record, ReplicaSettings, Revision, Route, RouterSettings, server_settings, to_json
from winnow.serving.settings import SERVING

REPLICA, ROUTER, PROXY = "replica", "router", "proxy"
ROUTER_SETTINGS, ROUTER_TOKEN = "WINNOW_ROUTER", "WINNOW_ROUTER_TOKEN"
CONTROL_PORT = 8081
"""Where a router is asked for its report, from inside its container alone."""
DEFAULT_HOST = "127.0.0.1"
PORTS = range(8100, 8200)
"""Candidates for a free port: below the range from which the system assigns ports, so that one stays free."""
SETTLE_S = 0.2
"""How long a replica still answers by default; the proxy has confirmed before that it sends no further requests."""
SPARE_S = 5.0
MEBIBYTE = 2**20
PROXY_CPUS, PROXY_MEMORY = 1.0, 256 * MEBIBYTE
ROUTER_CPUS, ROUTER_MEMORY = 1.0, 256 * MEBIBYTE
MOST_PROCESSES = 128


@dataclass(frozen=True)
class ContainerRequest:
    """One container to start.

    Attributes:
        hostname: its name on the deployment's network.
        stop_within_s: how long it may take to end.
        published: address of this machine that leads to it, if any, and its port or range of ports.
        directory: what it sees, read-only, as `/routes`.
        is_restarted: whether the engine starts it again when it ends.
    """

    name: str
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    network: str
    hostname: str
    cpus: float
    memory_bytes: int
    stop_within_s: float
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    published: tuple[str, str] | None = None
    directory: Path | None = None
    is_restarted: bool = True

    def body(self) -> dict[str, Any]:
        """The request to the engine."""
        port = f"{traefik.ENTRY_PORT}/tcp"
        folder = {"Type": "bind", "Source": str(self.directory), "Target": traefik.DIRECTORY, "ReadOnly": True}
        host: dict[str, Any] = {
            **LOCKED_DOWN,
            "NetworkMode": self.network,
            "Mounts": [folder] if self.directory is not None else [],
            "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={64 * MEBIBYTE}"},
            "RestartPolicy": {"Name": "unless-stopped" if self.is_restarted else "no"},
            **cpu_limit(self.cpus),
            **memory_limit(self.memory_bytes),
            "PidsLimit": MOST_PROCESSES,
            # Containers resolve only names of the deployment's own containers: no other name server is asked.
            "Dns": ["127.0.0.1"],
        }
        if self.published is not None:
            address, number = self.published
            host["PortBindings"] = {port: [{"HostIp": address, "HostPort": number}]}
        return {
            "Image": self.image,
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "Labels": dict(self.labels),
            "Hostname": self.hostname,
            "User": USER,
            "ExposedPorts": {port: {}} if self.published is not None else {},
            "StopTimeout": math.ceil(self.stop_within_s),
            "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": {self.network: {"Aliases": [self.hostname]}}},
        }

    def render(self) -> str:
        """The command that sends the same request, without secrets and without the labels, which hold revisions."""
        return docker_command("docker run --detach", self.name, {**self.body(), "Labels": {}}, {API_KEY, ROUTER_TOKEN})


def network_name(name: str) -> str:
    """Name of a deployment's network."""
    return f"winnow-prod-{name}"


def container_name(name: str, what: str) -> str:
    """Name of a deployment's container."""
    return f"{network_name(name)}-{what}"


def hosts_of(revision: Revision) -> tuple[str, ...]:
    """Host names of a revision's replicas at its scale."""
    return tuple(f"{REPLICA}-{revision.number}-{index}" for index in range(revision.scale.replicas))


def router_hosts(record: Record) -> tuple[str, ...]:
    """Host names of the routers of a record's route."""
    return tuple(f"{ROUTER}-{record.route.serial}-{index}" for index in range(record.router_replicas))


def replica(name: str, revision: Revision, index: int, key: str | None, *, is_restarted: bool) -> ContainerRequest:
    """Replica number `index` of a revision. The engine is not to start one again that was never ready.

    Args:
        key: the API key that it asks for; None for none.
    """
    settings, number = revision.settings, str(revision.number)
    return ContainerRequest(
        name=container_name(name, f"{number}-{index}"),
        image=revision.release.image,
        command=("--model-version", revision.release.version),
        labels={DEPLOYMENT: name, ROLE: REPLICA, REVISION: number, REVISION_JSON: to_json(revision)},
        network=network_name(name),
        hostname=f"{REPLICA}-{number}-{index}",
        cpus=settings.cpus,
        memory_bytes=settings.memory_bytes,
        stop_within_s=_stop_within_s(settings),
        environment={
            SERVING: server_settings(settings, settle_s=SETTLE_S, deployment=name, revision=revision.number),
            **({API_KEY: key} if key is not None else {}),
        },
        is_restarted=is_restarted,
    )


def router_settings(record: Record) -> RouterSettings:
    """What the routers of a record's route are given; they reach replicas by name."""
    stable, candidate = revision_in(record, record.route.stable), revision_in(record, record.route.candidate)
    addresses, others = (
        tuple(f"{host}:{traefik.SERVER_PORT}" for host in hosts_of(each)) for each in (stable, candidate)
    )
    return RouterSettings(record.name, record.route, addresses, others, stable.is_classifier)


def router(record: Record, index: int, image: str, token: str) -> ContainerRequest:
    """Router number `index` of a record's route; it limits clients as the stable revision does."""
    settings = revision_in(record, record.route.stable).settings
    return ContainerRequest(
        name=container_name(record.name, f"{ROUTER}-{record.route.serial}-{index}"),
        image=image,
        command=("--control-host", "127.0.0.1", "--control-port", str(CONTROL_PORT)),
        labels={DEPLOYMENT: record.name, ROLE: ROUTER, SERIAL: str(record.route.serial)},
        network=network_name(record.name),
        hostname=f"{ROUTER}-{record.route.serial}-{index}",
        cpus=ROUTER_CPUS,
        memory_bytes=ROUTER_MEMORY,
        stop_within_s=_stop_within_s(settings),
        environment={
            SERVING: server_settings(settings.of_routers, settle_s=SETTLE_S),
            ROUTER_SETTINGS: to_json(router_settings(record)),
            ROUTER_TOKEN: token,
        },
    )


def proxy(name: str, routes: Path, folder_id: str, image: str, published: tuple[str, str]) -> ContainerRequest:
    """The entry. It outlives revisions, so its labels name none.

    Args:
        folder_id: what tells the folder `routes` from one that was removed.
        published: address and port, or range of ports, of this machine.
    """
    return ContainerRequest(
        name=container_name(name, PROXY),
        image=image,
        command=traefik.arguments(),
        labels={DEPLOYMENT: name, ROLE: PROXY, FOLDER_ID: folder_id},
        network=network_name(name),
        hostname=PROXY,
        cpus=PROXY_CPUS,
        memory_bytes=PROXY_MEMORY,
        stop_within_s=traefik.GRACE_S + SPARE_S,
        published=published,
        directory=routes,
    )


def backends(route: Route, hosts: Mapping[int, Sequence[str]], routers: Sequence[str]) -> tuple[Backend, ...]:
    """Where a route sends requests; past routers that are all gone to the stable revision.

    `hosts`: host names of replicas, by the number of their revision.
    """
    if route.needs_routers:
        spare = tuple(hosts.get(route.stable, ()))
        return (Backend(f"routers-{route.serial}", tuple(routers), spare=spare),)
    stable = Backend(f"revision-{route.stable}", tuple(hosts.get(route.stable, ())), 1.0)
    if route.candidate is None:
        return (stable,)
    return (
        Backend(stable.name, stable.hosts, 1.0 - route.weight),
        Backend(f"revision-{route.candidate}", tuple(hosts.get(route.candidate, ())), route.weight),
    )


def render(record: Record, number: int, routes: Path, proxy_image: str, router_image: str) -> str:
    """The `docker run` commands of a revision's replicas and of what stands before them, and the route file."""
    revision = revision_in(record, number)
    key = "" if revision.settings.key else None
    starts = [
        replica(record.name, revision, index, key, is_restarted=False) for index in range(revision.scale.replicas)
    ]
    if record.route.needs_routers:
        starts += [router(record, index, router_image, "") for index in range(record.router_replicas)]
    port = str(record.entry.port) if record.entry.port is not None else f"{PORTS[0]}-{PORTS[-1]}"
    starts.append(proxy(record.name, routes, "", proxy_image, (record.entry.host or DEFAULT_HOST, port)))
    hosts = {each.number: hosts_of(each) for each in record.revisions}
    text = traefik.route_file(record, backends(record.route, hosts, router_hosts(record)))
    return "\n".join([*(each.render() for each in starts), f"# {routes / traefik.FILE}", text])


def _stop_within_s(settings: ReplicaSettings) -> float:
    settle_s = SETTLE_S if settings.settle_s is None else settings.settle_s
    return settle_s + settings.drain_s + SPARE_S

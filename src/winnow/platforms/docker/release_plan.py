"""What a deployment on Docker is made of, and what deploying one will do: values and pure functions only.

container  winnow-prod-NAME-SERIAL-I   replica I of change number SERIAL; host name `replica-SERIAL-I` on the network
           winnow-prod-NAME-proxy      Traefik: the entry point, published at one port of this machine
network    winnow-prod-NAME            of these containers alone; nothing leaves it
HOME/deployments/docker/NAME/routes/   mounted into Traefik; its file is the truth about what is served
                             lock      held while a process changes the deployment
                             logs/     of replicas that are gone

Everything is found by label and by what the proxy mounts, so a deployment is the same one from every terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.platforms.api_key import API_KEY
from winnow.platforms.container import USER
from winnow.platforms.docker import traefik
from winnow.platforms.docker.container_request import LOCKED_DOWN, cpu_limit, docker_command, memory_limit
from winnow.platforms.docker.traefik import Route
from winnow.platforms.labels import DEPLOYMENT, PREVIOUS, RELEASE, ROLE, SERIAL
from winnow.platforms.release_deployer import Action, DeploymentRequest
from winnow.platforms.release_json import release_text
from winnow.platforms.serving_limits import CPUS, MEMORY, REQUESTS, check_requests, cpus_of, memory_of
from winnow.routing import Release

REPLICA, PROXY = "replica", "proxy"
PASSED_ON = (API_KEY, *REQUESTS, "WINNOW_SETTLE_S", "WINNOW_DRAIN_S", "WINNOW_ACCESS_LOG")
"""The serving settings (`winnow.serving.settings`) that a replica takes over from the environment of `prod`."""
PROXY_IMAGE = "WINNOW_PROXY_IMAGE"
MEBIBYTE = 2**20
PROXY_CPUS, PROXY_MEMORY = 1.0, 256 * MEBIBYTE
LEAST_CPUS, LEAST_MEMORY = 0.01, 6 * MEBIBYTE
"""The least that Docker accepts."""
MOST_PROCESSES = 128


@dataclass(frozen=True)
class ReplicaSettings:
    """How every replica of a deployment runs.

    Attributes:
        environment: serving settings, by name; the API key among them, which no text shows.
    """

    cpus: float = 1.0
    memory_bytes: int = 1024 * MEBIBYTE
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class ReplicaFound:
    """A replica as it was found."""

    name: str
    serial: int
    release: Release
    settings: ReplicaSettings
    is_ready: bool

    @property
    def label(self) -> str:
        """Its host name on the deployment's network."""
        return f"replica-{'-'.join(self.name.rsplit('-', 2)[1:])}"


@dataclass(frozen=True)
class ProxyFound:
    """An entry point as it was found; `directory` is what it mounts, as this machine knows it."""

    name: str
    host: str
    port: int
    image: str
    arguments: tuple[str, ...]
    directory: Path
    is_running: bool


@dataclass(frozen=True)
class EngineDeployment:
    """What an engine has of a deployment. `route` is None where the proxy's directory holds none."""

    proxies: tuple[ProxyFound, ...] = ()
    replicas: tuple[ReplicaFound, ...] = ()
    route: Route | None = None

    @property
    def proxy(self) -> ProxyFound | None:
        """The entry point. After an interrupted change there are two; the first one is the older."""
        return self.proxies[0] if self.proxies else None

    @property
    def live(self) -> tuple[ReplicaFound, ...]:
        """The replicas that requests go to."""
        labels = self.route.replicas if self.route is not None and self.proxies else ()
        return tuple(each for each in self.replicas if each.label in labels)

    @property
    def leftovers(self) -> tuple[ReplicaFound, ...]:
        """Replicas that an interrupted change has made and never used, or replaced and never removed."""
        live = set(self.live)
        return tuple(each for each in self.replicas if each not in live)

    @property
    def serial(self) -> int:
        """Number of the last change; 0 where nothing is deployed."""
        return self.route.serial if self.route is not None and self.proxies else 0

    @property
    def highest(self) -> int:
        """The highest number that any change has used."""
        return max((self.serial, *(each.serial for each in self.replicas)))


@dataclass(frozen=True)
class ContainerRequest:
    """One container to start.

    Attributes:
        hostname: its name on the deployment's network.
        published: address and port of this machine that lead to it, if any do.
        directory: what it sees, read-only, as `/routes`.
    """

    name: str
    image: str
    command: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    network: str
    hostname: str
    settings: ReplicaSettings
    published: tuple[str, int] | None = None
    directory: Path | None = None

    def body(self) -> dict[str, Any]:
        """The request to the engine. A replica is restarted only after it was ready once (`DockerDeployer`)."""
        port = f"{traefik.ENTRY_PORT}/tcp"
        folder = {"Type": "bind", "Source": str(self.directory), "Target": traefik.DIRECTORY, "ReadOnly": True}
        host: dict[str, Any] = {
            **LOCKED_DOWN,
            "NetworkMode": self.network,
            "Mounts": [folder] if self.directory is not None else [],
            "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={64 * MEBIBYTE}"},
            "RestartPolicy": {"Name": "unless-stopped" if self.published is not None else "no"},
            **cpu_limit(self.settings.cpus),
            **memory_limit(self.settings.memory_bytes),
            "PidsLimit": MOST_PROCESSES,
            # Replicas resolve only names of the deployment's own containers: no other name server is asked.
            "Dns": ["127.0.0.1"],
        }
        if self.published is not None:
            address, number = self.published
            host["PortBindings"] = {port: [{"HostIp": address, "HostPort": str(number)}]}
        return {
            "Image": self.image,
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in self.settings.environment],
            "Labels": dict(self.labels),
            "Hostname": self.hostname,
            "User": USER,
            "ExposedPorts": {port: {}} if self.published is not None else {},
            "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": {self.network: {"Aliases": [self.hostname]}}},
        }

    def render(self) -> str:
        """The command that sends the same request, without the API key and the labels, which hold whole releases."""
        return docker_command("docker run --detach", self.name, {**self.body(), "Labels": {}}, {API_KEY})


@dataclass(frozen=True)
class DockerPlan:
    """See `AnyPlan`.

    Attributes:
        basis: serial of the deployment that the plan was made for; 0 where there was none.
        route: where requests go afterwards.
        starts: new replicas, which have to be ready before requests go to them.
        drains: replicas that get no further requests and end when theirs are answered.
        removes: containers left by an interrupted change.
        proxy: the entry point to start; None keeps the one that runs.
        is_port_asked: the caller chose the port, so no other one is tried.
    """

    request: DeploymentRequest
    action: Action
    basis: int
    host: str
    port: int
    is_port_asked: bool
    route: Route
    starts: tuple[ContainerRequest, ...]
    drains: tuple[str, ...]
    removes: tuple[str, ...]
    proxy: ContainerRequest | None

    def render(self) -> str:
        """What would be started and stopped, as the `docker` command would be told."""
        release, name = self.request.release, self.request.name
        what = f"{release.model} version {release.version}"
        removed = [f"  remove {each}, which an interrupted change has left" for each in self.removes]
        if self.action is Action.NOTHING:
            return "\n".join([f"{name}: {what} is being served already; nothing to do.", *removed])
        lines = [f"{name}: serve {what} (sha256 {release.digest[:12]}) at {self.host}:{self.port}", *removed]
        lines += [f"  start  {each.render()}" for each in self.starts]
        lines += [f"  start  {self.proxy.render()}"] if self.proxy is not None else []
        lines.append(f"  when ready, send requests to: {', '.join(self.route.replicas)}")
        lines += [f"  drain  {each}" for each in self.drains]
        return "\n".join(lines)


def container_name(name: str, what: str) -> str:
    """Name of a deployment's container."""
    return f"{network_name(name)}-{what}"


def network_name(name: str) -> str:
    """Name of a deployment's network."""
    return f"winnow-prod-{name}"


def labels_of(name: str, serial: int, release: Release, previous: Release | None, role: str) -> dict[str, str]:
    """What a container says about itself."""
    found = {DEPLOYMENT: name, SERIAL: str(serial), RELEASE: release_text(release), ROLE: role}
    return found if previous is None else {**found, PREVIOUS: release_text(previous)}


def settings_of(
    environment: Mapping[str, str], current: ReplicaSettings | None, settle_s: float, key_file: str | None = None
) -> ReplicaSettings:
    """How replicas are to run: as those that run do, changed by what the environment of the caller says.

    A variable that is not set changes nothing, so a terminal that does not know the API key does not remove it. An
    empty variable removes the setting.

    Args:
        key_file: the key in `WINNOW_API_KEY_FILE`, which overrides `WINNOW_API_KEY`.

    Raises:
        InputError: a limit is not valid.
    """
    before = current if current is not None else ReplicaSettings(environment=(("WINNOW_SETTLE_S", f"{settle_s:g}"),))
    check_requests(environment)
    told = {name: environment[name] for name in PASSED_ON if name in environment}
    if key_file is not None:
        told[API_KEY] = key_file
    merged = {**dict(before.environment), **told}
    cpus, memory = environment.get(CPUS), environment.get(MEMORY)
    return ReplicaSettings(
        cpus=cpus_of(CPUS, cpus, LEAST_CPUS) if cpus else before.cpus,
        memory_bytes=memory_of(MEMORY, memory, LEAST_MEMORY) if memory else before.memory_bytes,
        environment=tuple(sorted((name, value) for name, value in merged.items() if value)),
    )


def plan(
    request: DeploymentRequest,
    found: EngineDeployment,
    settings: ReplicaSettings,
    directory: Path,
    free_port: int,
    proxy_image: str = traefik.IMAGE,
) -> DockerPlan:
    """Work out what serving the request takes.

    Args:
        directory: what a new entry point mounts.
        free_port: where a new entry point is published if the caller chose no port.
    """
    release, current = request.release, found.proxy
    host, port = request.host, request.port or (current.port if current is not None else free_port)
    fitting = [each for each in found.live if _serves(each, release, settings)]
    count = request.replicas or (len(found.route.replicas) if found.route is not None and found.serial else 1)
    kept = fitting[:count]
    serial = found.highest + 1
    previous = _previous(found, release)
    proxy = _proxy(request, found, (host, port), directory, proxy_image)
    starts = tuple(_replica(request, serial, index, previous, settings) for index in range(count - len(kept)))
    drains = tuple(each.name for each in found.live if each not in kept)
    removes = (*(each.name for each in found.leftovers), *(each.name for each in found.proxies[1:]))
    labels = (*(each.label for each in kept), *(each.hostname for each in starts))
    is_as_wanted = proxy is None and labels == (found.route.replicas if found.route is not None else ())
    action = Action.NOTHING if is_as_wanted else (Action.REPLACE if found.live else Action.START)
    return DockerPlan(
        request=request,
        action=action,
        basis=found.serial,
        host=host,
        port=port,
        is_port_asked=request.port is not None,
        route=Route(serial, release, previous, labels),
        starts=starts,
        drains=drains,
        removes=removes,
        proxy=proxy,
    )


def _serves(replica: ReplicaFound, release: Release, settings: ReplicaSettings) -> bool:
    return replica.is_ready and replica.release.is_same(release) and replica.settings == settings


def _previous(found: EngineDeployment, release: Release) -> Release | None:
    if found.route is None or not found.serial:
        return None
    return found.route.previous if found.route.release.is_same(release) else found.route.release


def _proxy(
    request: DeploymentRequest, found: EngineDeployment, address: tuple[str, int], directory: Path, image: str
) -> ContainerRequest | None:
    """The entry point to start, or None where the one that runs is right."""
    current, arguments = found.proxy, traefik.arguments()
    if current is not None and current.is_running and found.route is not None:
        wanted = (*address, image, arguments)
        if (current.host, current.port, current.image, current.arguments) == wanted:
            return None
    # It outlives releases, so its labels name none.
    labels = {DEPLOYMENT: request.name, ROLE: PROXY}
    return ContainerRequest(
        name=container_name(request.name, PROXY),
        image=image,
        command=arguments,
        labels=tuple(labels.items()),
        network=network_name(request.name),
        hostname=PROXY,
        settings=ReplicaSettings(PROXY_CPUS, PROXY_MEMORY),
        published=address,
        directory=directory,
    )


def _replica(
    request: DeploymentRequest, serial: int, index: int, previous: Release | None, settings: ReplicaSettings
) -> ContainerRequest:
    labels = labels_of(request.name, serial, request.release, previous, REPLICA)
    return ContainerRequest(
        name=container_name(request.name, f"{serial}-{index}"),
        image=request.release.image,
        command=("--model-version", request.release.version),
        labels=tuple(labels.items()),
        network=network_name(request.name),
        hostname=f"{REPLICA}-{serial}-{index}",
        settings=settings,
    )

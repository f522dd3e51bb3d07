"""A deployer without processes: keeps the contract in memory, for tests and for trying a composition out."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from winnow.config.errors import InputError
from winnow.platforms.release_deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    Endpoint,
    Replica,
    UnknownDeploymentError,
    look_at_listener,
    no_previous,
    rendered_change,
)
from winnow.routing import Release

FIRST_PORT = 20_000


@dataclass(frozen=True)
class MemoryPlan:
    """See `AnyPlan`. `basis` is the deployment that the plan was made for."""

    request: DeploymentRequest
    action: Action
    port: int | None
    replicas: int
    basis: Deployment | None

    def render(self) -> str:
        """One sentence."""
        release = self.request.release
        return f"{self.action} {self.request.name}: {release.model} version {release.version}, {self.replicas} replicas"


@dataclass
class MemoryWorld:
    """What survives a deployer: deployments, their logs, and ports that others hold."""

    deployments: dict[str, Deployment] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    taken_ports: set[int] = field(default_factory=set)
    numbers: itertools.count[int] = field(default_factory=itertools.count)


class MemoryDeployer:
    """`Deployer` in memory. Releases whose digest is in `unready` never become ready."""

    def __init__(self, world: MemoryWorld, unready: Collection[str] = ()) -> None:
        self._world = world
        self._unready = unready

    @property
    def place(self) -> str:
        """See `Deployer.place`."""
        return "on this machine"

    def check(self, *, is_read_only: bool = False) -> None:
        """See `Deployer.check`."""

    def plan(self, request: DeploymentRequest) -> MemoryPlan:
        """See `Deployer.plan`."""
        basis = self._world.deployments.get(request.name)
        replicas = request.replicas or (len(basis.replicas) if basis is not None else 1)
        port = request.port if request.port is not None else _port(basis)
        action = Action.START if basis is None else Action.REPLACE
        if basis is not None and basis.state is DeploymentState.READY:
            is_as_wanted = (replicas, port) == (len(basis.replicas), _port(basis))
            if is_as_wanted and basis.release.is_same(request.release):
                action = Action.NOTHING
        return MemoryPlan(request, action, port, replicas, basis)

    def plan_rollback(self, name: str) -> MemoryPlan:
        """See `Deployer.plan_rollback`."""
        current = self.status(name)
        if current.previous is None:
            raise no_previous(name)
        return self.plan(DeploymentRequest(name, current.previous))

    def difference(self, plan: MemoryPlan) -> str:
        """See `Deployer.difference`."""
        return rendered_change(plan)

    def deploy(self, plan: MemoryPlan) -> Deployment:
        """See `Deployer.deploy`."""
        name, release = plan.request.name, plan.request.release
        old = self._world.deployments.get(name)
        if plan.action is Action.NOTHING and old is not None:
            return old
        port = self._take_port(plan, old)
        log = self._world.logs.setdefault(name, [])
        if release.digest in self._unready:
            log.append(f"version {release.version} is not ready")
            reason = f"version {release.version} did not become ready"
            raise DeploymentFailedError(name, reason, log[-20:], "its log", is_old_serving=old is not None)
        log.append(f"version {release.version} is ready")
        self._world.taken_ports.add(port)
        deployment = Deployment(
            name=name,
            state=DeploymentState.READY,
            url=f"http://{plan.request.host}:{port}",
            release=release,
            replicas=tuple(
                Replica(str(next(self._world.numbers)), release.version, DeploymentState.READY)
                for _ in range(plan.replicas)
            ),
            previous=_previous(old, release),
        )
        self._world.deployments[name] = deployment
        return deployment

    def status(self, name: str) -> Deployment:
        """See `Deployer.status`."""
        if name not in self._world.deployments:
            raise UnknownDeploymentError(name, self.names())
        return self._world.deployments[name]

    def names(self) -> tuple[str, ...]:
        """See `Deployer.names`."""
        return tuple(sorted(self._world.deployments))

    def endpoint(self, deployment: Deployment) -> AbstractContextManager[Endpoint]:
        """See `Deployer.endpoint`."""
        return nullcontext(Endpoint(deployment.url))

    def manual_access(self, deployment: Deployment) -> None:
        """See `Deployer.manual_access`."""

    def logs_hint(self, deployment: Deployment) -> str:
        """See `Deployer.logs_hint`."""
        return f"the log of {deployment.name}"

    def address_hint(self, deployment: Deployment) -> str:
        """See `Deployer.address_hint`."""
        return look_at_listener(self.logs_hint(deployment))

    def images_hint(self, name: str) -> str:
        """See `Deployer.images_hint`."""
        return ""

    def logs(self, name: str, lines: int = 20) -> list[str]:
        """See `Deployer.logs`."""
        if name not in self._world.logs:
            raise UnknownDeploymentError(name, self.names())
        return self._world.logs[name][-lines:]

    def remove(self, name: str) -> bool:
        """See `Deployer.remove`."""
        removed = self._world.deployments.pop(name, None)
        if removed is not None:
            self._world.taken_ports.discard(_port(removed) or 0)
        return removed is not None

    def kill(self, name: str, identifier: str) -> None:
        """Let one replica die, as a crash would."""
        old = self.status(name)
        replicas = tuple(
            replace(each, state=DeploymentState.DOWN) if each.identifier == identifier else each
            for each in old.replicas
        )
        is_any = any(each.state is DeploymentState.READY for each in replicas)
        state = DeploymentState.DEGRADED if is_any else DeploymentState.DOWN
        self._world.deployments[name] = replace(old, replicas=replicas, state=state)

    def _take_port(self, plan: MemoryPlan, old: Deployment | None) -> int:
        if plan.port is None:
            return next(port for port in itertools.count(FIRST_PORT) if port not in self._world.taken_ports)
        if plan.port in self._world.taken_ports and plan.port != _port(old):
            raise InputError(
                f"port {plan.port}",
                expected="a free port",
                found="one in use",
                remedy="Leave the port out or change it.",
            )
        return plan.port


def _port(deployment: Deployment | None) -> int | None:
    return int(deployment.url.rpartition(":")[2]) if deployment is not None else None


def _previous(old: Deployment | None, release: Release) -> Release | None:
    if old is None:
        return None
    return old.previous if old.release.is_same(release) else old.release

"""A deployer without processes: keeps the contract in memory, for tests and for trying a composition out.

A `MemoryWorld` is the platform: it outlives deployers, replicas in it become ready while they are observed, and tests
may break it. Its deployments answer requests with the number of a revision (`MemoryWorld.ask`), and its routers count.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from winnow.config.errors import InputError, WinnowError
from winnow.platforms.deployer import Deployer, OvertakenError, UnknownDeploymentError, check_next, revision_in
from winnow.routing import (
    Counts,
    Observation,
    Record,
    ReplicaObserved,
    Route,
    RouterReport,
    to_json,
)

FIRST_PORT = 20_000


@dataclass
class MemoryReplica:
    """One replica or router.

    Attributes:
        observations: how many more observations find it starting.
        failure: see `ReplicaObserved`.
    """

    identifier: str
    revision: int
    observations: int = 0
    failure: str = ""

    @property
    def is_ready(self) -> bool:
        return not self.failure and not self.observations


@dataclass
class MemoryRouter(MemoryReplica):
    """A router, with its route and what it has counted."""

    route: Route = field(default_factory=Route)
    stable: int = 0
    candidate: int = 0
    credit: float = 0.0

    def choose(self) -> int:
        """The number of the revision that answers the next request."""
        self.credit += self.route.weight
        if self.credit >= 1 - 1e-9 and self.route.candidate is not None:
            self.credit -= 1
            self.candidate += 1
            return self.route.candidate
        self.stable += 1
        return self.route.stable


@dataclass
class MemoryDeployment:
    """One deployment.

    Attributes:
        follows: the route that requests follow; None before the first one.
        keys: API keys by their fingerprint.
    """

    record: Record
    port: int | None = None
    follows: Route | None = None
    wish: str = ""
    replicas: list[MemoryReplica] = field(default_factory=list)
    routers: list[MemoryRouter] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def alive(self, number: int) -> list[MemoryReplica]:
        """The replicas of a revision that have not failed."""
        return [each for each in self.replicas if each.revision == number and not each.failure]


@dataclass
class MemoryWorld:
    """What survives a deployer, and what a test does to it.

    Attributes:
        unready: digests of releases whose replicas fail.
        ready_after: how many observations find a new replica starting before it is ready or has failed.
        taken_ports: those that others listen on.
        are_routers_broken: routers do not become ready.
        on_step: called with a step's name and the deployment's before the step; what it raises interrupts the deployer.
        report: what a router reports instead of what it counted.
        renewals: how often leases were renewed, by the deployment's name.
        metrics: what replicas expose beside the model that they serve, by their identifiers.
    """

    unready: set[str] = field(default_factory=set)
    ready_after: int = 0
    taken_ports: set[int] = field(default_factory=set)
    are_routers_broken: bool = False
    on_step: Callable[[str, str], None] = lambda _step, _name: None
    report: Callable[[RouterReport], RouterReport] = lambda report: report
    renewals: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    deployments: dict[str, MemoryDeployment] = field(default_factory=dict)
    logs: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    holders: dict[str, int] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def kill(self, name: str, identifier: str) -> None:
        """Let one replica or router die, as a crash would."""
        deployment = self.deployments[name]
        for each in (*deployment.replicas, *deployment.routers):
            if each.identifier == identifier:
                each.failure = "was killed"

    def kill_holder(self, name: str) -> None:
        """Let the process die that has the right to change a deployment."""
        self.holders.pop(name, None)

    def ask(self, name: str) -> int | None:
        """The number of the revision that answers a request; None where none does."""
        deployment = self.deployments.get(name)
        if deployment is None or deployment.follows is None:
            return None
        ready = {each.revision for each in deployment.replicas if each.is_ready}
        number = deployment.follows.stable
        if deployment.follows.needs_routers:
            routers = [each for each in deployment.routers if each.is_ready]
            if not routers:
                return None
            number = min(routers, key=lambda each: each.stable + each.candidate).choose()
        return number if number in ready else deployment.follows.stable if deployment.follows.stable in ready else None


@dataclass(frozen=True)
class MemoryHeld:
    """See `Held`."""

    world: MemoryWorld
    name: str
    number: int

    def renew(self) -> None:
        if self.world.holders.get(self.name) != self.number:
            raise OvertakenError(self.name)


class MemoryDeployer(Deployer):
    """`Deployer` in a `MemoryWorld`."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    @property
    def place(self) -> str:
        return "on this machine"

    def check_change(self, record: Record, number: int) -> None:
        if record.entry.port is not None and record.entry.port in self._taken_ports(record.name):
            raise InputError(
                f"port {record.entry.port}",
                expected="a free port",
                found="one in use",
                remedy="Leave the port out or change it.",
            )

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._world.deployments))

    def observe(self, name: str) -> Observation:
        """See `Deployer.observe`. Time passes by it: replicas that start come nearer to being ready."""
        deployment = self._deployment(name)
        for each in (*deployment.replicas, *deployment.routers):
            if each.observations:
                each.observations -= 1
                self._settle(deployment, each)
        return Observation(
            record=deployment.record,
            replicas=tuple(_observed(each) for each in deployment.replicas),
            routers=tuple(
                _observed(each)
                for each in deployment.routers
                if deployment.follows is not None and each.route == deployment.follows
            ),
            entry_serial=deployment.follows.serial if deployment.follows is not None else None,
            wish=deployment.wish,
            url=f"http://127.0.0.1:{deployment.port}" if deployment.port is not None else "",
        )

    @contextmanager
    def held(self, name: str) -> Iterator[MemoryHeld]:
        if name in self._world.holders:
            raise InputError(
                f"deployment '{name}'",
                expected="no other command that changes it",
                found="one that does",
                remedy="Wait until it has ended.",
            )
        held = MemoryHeld(self._world, name, next(self._world.numbers))
        self._world.holders[name] = held.number
        try:
            yield held
        finally:
            if self._world.holders.get(name) == held.number:
                del self._world.holders[name]

    def driver(self, name: str) -> str:
        return f"process {self._world.holders[name]}" if name in self._world.holders else ""

    def write(self, record: Record) -> None:
        self._world.on_step("write", record.name)
        deployment = self._world.deployments.get(record.name)
        check_next(deployment.record if deployment is not None else None, record)
        if deployment is None:
            self._world.deployments[record.name] = MemoryDeployment(record)
        else:
            deployment.record = record

    def wish(self, name: str, wish: str) -> None:
        self._deployment(name).wish = wish

    def key(self, record: Record) -> str | None:
        serving = record.serving
        if serving is None or not serving.settings.key:
            return None
        return self._deployment(record.name).keys[serving.settings.key]

    def start(self, record: Record, number: int, key: str | None) -> None:
        self._world.on_step("start", record.name)
        deployment, revision = self._deployment(record.name), revision_in(record, number)
        if key is not None:
            deployment.keys[revision.settings.key] = key
        self._bring(deployment, number, max(revision.scale.replicas, len(deployment.alive(number))))

    def scale(self, record: Record, number: int, replicas: int) -> None:
        self._world.on_step("scale", record.name)
        revision_in(record, number)
        self._bring(self._deployment(record.name), number, replicas)

    def route(self, record: Record) -> None:
        self._world.on_step("route", record.name)
        deployment = self._deployment(record.name)
        self.check_change(record, record.route.stable)
        check_next(deployment.record, record)
        if not any(each.is_ready and each.revision == record.route.stable for each in deployment.replicas):
            raise WinnowError(f"deployment '{record.name}': no replica of revision {record.route.stable} is ready")
        routers = []
        if record.route.needs_routers:
            if self._world.are_routers_broken:
                raise WinnowError(f"deployment '{record.name}': its routers did not become ready")
            routers = [each for each in deployment.routers if each.route == record.route and not each.failure]
            routers += [
                MemoryRouter(str(next(self._world.numbers)), 0, route=record.route)
                for _ in range(record.router_replicas - len(routers))
            ]
        port = record.entry.port or deployment.port
        taken = self._taken_ports(record.name)
        deployment.port = port or next(each for each in itertools.count(FIRST_PORT) if each not in taken)
        deployment.record, deployment.follows, deployment.routers = record, record.route, routers

    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        if not is_read_only:
            self._world.renewals[record.name] = self._world.renewals.get(record.name, 0) + 1
        if not record.route.needs_routers:
            return ()
        return tuple(
            self._world.report(
                RouterReport(
                    router=each.identifier,
                    serial=each.route.serial,
                    stable=Counts(requests=each.stable),
                    candidate=Counts(requests=each.candidate),
                )
            )
            for each in self._deployment(record.name).routers
            if each.is_ready and each.route.serial == record.route.serial
        )

    def metrics(self, observed: Observation) -> dict[str, str]:
        """See `Deployer.metrics`: the model, and what `MemoryWorld.metrics` has of the replica."""
        found = {}
        for each in observed.replicas:
            revision = observed.record.revision(each.revision)
            if each.is_ready and revision is not None:
                of = revision.release
                info = f'winnow_model_info{{digest="{of.digest}",name="{of.model}",version="{of.version}"}} 1.0\n'
                found[each.identifier] = info + self._world.metrics.get(each.identifier, "")
        return found

    def retire(self, record: Record, number: int) -> None:
        self._world.on_step("retire", record.name)
        deployment = self._deployment(record.name)
        deployment.replicas = [each for each in deployment.replicas if each.revision != number]

    def remove(self, name: str) -> bool:
        self._world.on_step("remove", name)
        return self._world.deployments.pop(name, None) is not None

    def render(self, record: Record, number: int) -> str:
        revision = revision_in(record, number)
        return f"{record.name}: start {to_json(revision)}\n{record.name}: follow {to_json(record.route)}\n"

    def logs_hint(self, observed: Observation) -> str:
        return f"the log of {observed.record.name}"

    def logs(self, name: str, number: int | None = None, lines: int = 20) -> list[str]:
        kept = self._world.logs.get(name, {})
        if not kept:
            raise UnknownDeploymentError(name, self.names())
        return kept.get(number if number is not None else max(kept), [])[-lines:]

    def log_place(self, name: str, number: int) -> str:
        return f"the log of {name}'s revision {number}"

    def _bring(self, deployment: MemoryDeployment, number: int, count: int) -> None:
        """Bring a revision to a number of replicas, without those that failed."""
        others = [each for each in deployment.replicas if each.revision != number]
        alive = deployment.alive(number)[:count]
        identifiers = (str(next(self._world.numbers)) for _ in range(count - len(alive)))
        started = [MemoryReplica(each, number, self._world.ready_after) for each in identifiers]
        deployment.replicas = [*others, *alive, *started]
        for each in started:
            self._log(deployment.record.name, number, f"replica {each.identifier} starts")
            self._settle(deployment, each)

    def _deployment(self, name: str) -> MemoryDeployment:
        if name not in self._world.deployments:
            raise UnknownDeploymentError(name, self.names())
        return self._world.deployments[name]

    def _settle(self, deployment: MemoryDeployment, replica: MemoryReplica) -> None:
        """Let a replica that has started become ready, or fail."""
        revision = deployment.record.revision(replica.revision)
        if revision is None or replica.observations:
            return
        is_failing = revision.release.digest in self._world.unready
        replica.failure = "ended before it was ready" if is_failing else ""
        self._log(
            deployment.record.name, replica.revision, f"replica {replica.identifier} {replica.failure or 'is ready'}"
        )

    def _log(self, name: str, number: int, line: str) -> None:
        self._world.logs.setdefault(name, {}).setdefault(number, []).append(line)

    def _taken_ports(self, name: str) -> set[int | None]:
        others = (each.port for other, each in self._world.deployments.items() if other != name)
        return {*self._world.taken_ports, *others}


def _observed(replica: MemoryReplica) -> ReplicaObserved:
    waiting = "it starts" if replica.observations else ""
    return ReplicaObserved(replica.identifier, replica.revision, replica.is_ready, replica.failure, waiting)

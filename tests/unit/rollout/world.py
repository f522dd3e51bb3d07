"""A platform in memory that loses replicas, routers and drivers, and a driver without a clock of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from winnow.finding import Finding, Result
from winnow.rollout.step import (
    Aborted,
    Action,
    Desired,
    Done,
    Fail,
    Forget,
    Move,
    Paused,
    Rescale,
    Retire,
    Scale,
    Start,
    Wait,
    Write,
    next_action,
)
from winnow.rollout.verdict import Verdict
from winnow.routing import Observation, Record, Release, ReplicaObserved, ReplicaSettings, Revision
from winnow.routing import Scale as Size

END = (Done, Fail, Aborted, Paused)


def revision(number: int, replicas: int = 2, model: str = "") -> Revision:
    release = Release("model", model or str(number), "digest", Path("bundle"))
    return Revision(number, release, ReplicaSettings(), Size(replicas=replicas))


def verdict_of(step: int, result: Result, n: int = 100) -> Verdict:
    finding = Finding("errors", 0.0, (0.0, 0.1), n, 0.01, "a rule", result, f"{result} of {n}")
    return Verdict(step, (finding,), result, finding.reason)


@dataclass
class Replica:
    revision: int
    ready_at: float
    failure: str = ""


@dataclass
class World:
    """Attributes:
    broken: revisions whose replicas fail.
    chances: of events before an action, by kind: replica, failure, router, driver, entry, wish.
    """

    now: float = 1000.0
    record: Record = field(default_factory=lambda: Record("name"))
    replicas: list[Replica] = field(default_factory=list)
    routers: int = 0
    follows: int | None = None
    wish: str = ""
    broken: set[int] = field(default_factory=set)
    random: random.Random = field(default_factory=lambda: random.Random(0))
    chances: dict[str, float] = field(default_factory=dict)
    results: tuple[Result | None, ...] = (Result.PASS,)
    log: list[Action] = field(default_factory=list)

    def observe(self) -> Observation:
        for each in self.replicas:
            if each.revision in self.broken and self.now >= each.ready_at:
                each.failure = "ended before it was ready"
        return Observation(
            record=self.record,
            replicas=tuple(
                ReplicaObserved(str(i), each.revision, not each.failure and self.now >= each.ready_at, each.failure)
                for i, each in enumerate(self.replicas)
            ),
            routers=tuple(ReplicaObserved(f"router-{i}", 0, True) for i in range(self.routers)),
            entry_serial=self.follows,
            wish=self.wish,
        )

    def carry_out(self, action: Action) -> None:
        match action:
            case Write(record):
                self._store(record)
            case Rescale(record, number):
                self._start(record, number)
                self._store(record)
            case Start(number):
                self._start(self.record, number)
                self.now += 1
            case Scale(number, count):
                kept = [each for each in self.replicas if each.revision == number and not each.failure][:count]
                self.replicas = [each for each in self.replicas if each.revision != number] + kept
            case Move(record):
                if record != self.record:
                    self._store(record)
                self.follows = record.route.serial
                self.routers = record.router_replicas if record.route.needs_routers else 0
            case Retire(record, number):
                self.replicas = [each for each in self.replicas if each.revision != number]
                if record != self.record:
                    self._store(record)
            case Forget():
                self.wish = ""
            case Wait():
                self.now += 1
        self.now += 0.1

    def _store(self, record: Record) -> None:
        assert record.serial == self.record.serial + 1
        self.record = record

    def _start(self, record: Record, number: int) -> None:
        wanted = record.revision(number)
        assert wanted is not None
        self.replicas = [each for each in self.replicas if each.revision != number or not each.failure]
        alive = sum(each.revision == number for each in self.replicas)
        for _ in range(wanted.scale.replicas - alive):
            self.replicas.append(Replica(number, self.now + self.random.uniform(0, 5)))

    def disturb(self) -> bool:
        """Break something at random. Returns whether the driver died."""
        for kind, chance in self.chances.items():
            if self.random.random() >= chance:
                continue
            if kind == "replica" and self.replicas:
                self.replicas.remove(self.random.choice(self.replicas))
            elif kind == "failure" and self.replicas:
                self.random.choice(self.replicas).failure = "was killed"
            elif kind == "router":
                self.routers = max(self.routers - 1, 0)
            elif kind == "wish":
                self.wish = self.random.choice(["pause", "resume", "promote", "abort"])
            elif kind == "driver":
                return True
        return False

    def drive(self, desired: Desired) -> Action:
        """Drive to an end."""
        end = self.run(desired, most=1500)
        assert end is not None, [type(each).__name__ for each in self.log[-5:]]
        return end

    def run(self, desired: Desired, most: int) -> Action | None:
        """Drive for some actions, checking each. Drivers that die are followed by others."""
        desired = replace(desired, started=self.now)
        for _ in range(most):
            if self.disturb():
                self.now += self.random.choice([0, 3, 100])
                desired = replace(desired, started=self.now)
            observed = self.observe()
            rollout = self.record.rollout
            result = self.random.choice(self.results)
            verdict = verdict_of(rollout.step, result) if rollout is not None and result is not None else None
            action = next_action(desired, observed, verdict, self.now)
            self.log.append(action)
            check(desired, observed, action)
            if isinstance(action, END):
                if isinstance(action, Fail) and action.cleaning is not None:
                    self.carry_out(action.cleaning)
                return action
            if isinstance(action, Move) and self.random.random() < self.chances.get("half a move", 0):
                if action.record != self.record:
                    self._store(action.record)  # the driver died before the entry moved
                self.now += 1
                desired = replace(desired, started=self.now)
                continue
            self.carry_out(action)
        return None


def check(desired: Desired, observed: Observation, action: Action) -> None:
    """What holds for every action in every world."""
    record = observed.record
    if isinstance(action, Move):
        route = action.record.route
        assert observed.ready(route.stable), action
        assert 0 <= route.weight < 1
        if route.candidate is not None:
            assert observed.ready(route.candidate) or route == record.route, action
            assert route.weight in {each.weight for each in desired.steps}
            is_running = action.record.rollout.state == "running"
            assert (route.lease_s is None) == (not is_running) or route == record.route
        assert action.record.route.serial in (record.route.serial, record.route.serial + 1)
        assert (action.record.route == record.route) == (action.record.route.serial == record.route.serial)
    is_removal = isinstance(action, Retire) or (isinstance(action, Scale) and action.replicas == 0)
    if is_removal:
        assert action.number not in (record.route.stable, record.route.candidate), action
    if isinstance(action, Write | Move | Retire | Rescale):
        msgspec.json.encode(action.record, enc_hook=str)
    if isinstance(action, Done):
        assert record.route.stable == desired.target.number
        assert observed.entry_serial == record.route.serial
        assert {each.revision for each in observed.replicas} == {desired.target.number}

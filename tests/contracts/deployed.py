"""A deployment of any platform, and the steps that a driver makes with it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from winnow.platforms.deployer import Deployer, UnknownDeploymentError
from winnow.routing import Entry, Observation, Record, Release, ReplicaSettings, Revision, Route, Scale

KEY = "a key of the tests"
FINGERPRINT = sha256(KEY.encode()).hexdigest()[:12]
READY_WITHIN_S = 90.0


class Backend(Protocol):
    """A kind of deployer with what a test has to do behind its back."""

    name: str
    """What its deployment is called."""
    entry: Entry
    settle_s: float
    """How long a replica of this platform has to answer after it was asked to end."""
    router_image: str
    has_routers: bool
    """Whether routers split requests; else the platform's own gateway."""
    keeps_keys: bool
    """Whether replicas ask for a key; else the platform does."""
    shows_replicas: bool
    """Whether it knows the state of each replica, and what each exposes."""
    taken_over_within_s: float
    """How long after its death a process is known to have lost the right to change a deployment."""

    def deployer(self) -> Deployer:
        """A new deployer that knows the world only by looking."""

    def ask(self, observed: Observation) -> str:
        """The version of the model that answers a request; empty where none does."""

    def kill(self, identifier: str) -> None:
        """Let a replica or router die."""

    def take_port(self) -> int | None:
        """A port that another process holds; None where entries have none."""

    def hold(self, name: str) -> Callable[[], None]:
        """Have another process hold a deployment. Returns what kills it."""

    def close(self) -> None: ...


@dataclass
class Deployed:
    """A deployment, and the steps that a driver makes with it."""

    backend: Backend
    releases: dict[str, Release]

    @property
    def deployer(self) -> Deployer:
        return self.backend.deployer()

    @property
    def record(self) -> Record:
        try:
            return self.observe().record
        except UnknownDeploymentError:
            image = self.backend.router_image
            return Record(self.backend.name, entry=self.backend.entry, router_replicas=1, router_image=image)

    def observe(self) -> Observation:
        return self.deployer.observe(self.backend.name)

    def add(self, release: str, replicas: int = 1) -> tuple[Record, int]:
        """Write a further revision into the record; returns the record, and the revision's number."""
        record = self.record
        number = max((each.number for each in record.revisions), default=0) + 1
        settings = ReplicaSettings(
            cpu_request=0.05,
            memory_request_bytes=128 * 2**20,
            settle_s=self.backend.settle_s,
            drain_s=5,
            key=FINGERPRINT if self.backend.keeps_keys else "",
        )
        revision = Revision(number, self.releases[release], settings, Scale(replicas))
        record = changed(record, revisions=(*record.revisions, revision))
        self.deployer.write(record)
        return record, number

    def start(self, release: str, replicas: int = 1) -> tuple[Record, int]:
        """Have a further revision ready, without traffic."""
        record, number = self.add(release, replicas)
        self.deployer.start(record, number, KEY if self.backend.keeps_keys else None)
        self.wait(lambda observed: observed.ready(number) == replicas)
        return record, number

    def serve(self, release: str, replicas: int = 1) -> int:
        """Have a further revision answer all requests. Nothing is left of those before."""
        record, number = self.start(release, replicas)
        self.deployer.route(to(record, number))
        self.leave_only(number)
        return number

    def leave_only(self, number: int) -> None:
        """Remove every revision that does not serve."""
        record = self.record
        others = [each.number for each in record.revisions if each.number != number]
        for each in others:
            self.deployer.scale(record, each, 0)
        if others:
            kept = tuple(each for each in record.revisions if each.number == number)
            record = changed(record, revisions=kept)
            self.deployer.write(record)
        for each in others:
            self.deployer.retire(record, each)

    def wait(self, is_so: Callable[[Observation], bool], within_s: float = READY_WITHIN_S) -> Observation:
        """Observe until something is so."""
        deadline = time.monotonic() + within_s
        while not is_so(observed := self.observe()):
            assert time.monotonic() < deadline, msgspec.json.format(
                msgspec.json.encode(observed, enc_hook=str)
            ).decode()
            time.sleep(0.05)
        return observed

    def answers(self, count: int = 1) -> Counter[str]:
        """Versions that answer that many requests; failed requests are counted as an empty version."""
        observed = self.observe()
        return Counter(self.backend.ask(observed) for _ in range(count))


def changed(record: Record, **changes: Any) -> Record:
    """The record that replaces another."""
    return msgspec.structs.replace(record, serial=record.serial + 1, **changes)


def to(record: Record, stable: int, **changes: Any) -> Record:
    """The record with a route to that revision."""
    return changed(record, route=Route(serial=record.serial + 1, stable=stable, **changes))

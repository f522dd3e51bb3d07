"""Requests that fail, and how long they take, while a deployment is updated, scaled, rolled out and shot at.

An open-loop load of a bounded number of requests runs beside each change; every request is accounted for. The driver is
the one of `make prod-*`. Candidates also misbehave while they serve: a module that Python loads at its start changes
their server. Docker needs an engine of this machine, Kubernetes a node of it and what its
tests need; both need root to kill.

    python benchmarks/rollout_load.py [local|docker|kubernetes] [requests per second] [which rows: a regular expression]
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import re
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running
from tests.kubernetes import serving
from tests.kubernetes.places import Place, place

from winnow.bundle.manifest import EXAMPLE
from winnow.config.serving import RolloutConfig
from winnow.orchestrators.drive import Driver, observe
from winnow.orchestrators.judge import StepJudge
from winnow.platforms.deployer import Deployer, DeploymentFailedError
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.deployer import DockerDeployer
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.local.deployer import LocalDeployer
from winnow.rollout.plan import steps_of
from winnow.rollout.step import Desired, revision_for
from winnow.routing import Entry, Observation, Release, ReplicaObserved, ReplicaSettings, Revision, Scale
from winnow.serving.app import App

RATE_PER_S = 100.0
MOST_SECONDS = 600
LEAD_S = 1.0
STEP_S = 5.0
WEIGHTS = (0.25, 0.5, 1.0)
PLAIN = ReplicaSettings(drain_s=5)
SMALL = ReplicaSettings(cpu_request=0.05, memory_request_bytes=128 * 2**20, drain_s=5)
KILLS, KILL_EVERY_S = 20, (1.0, 6.0)
"""How often the driver, a router or a replica is killed during one rollout, and after how long each time."""
FAULTS = {
    "crashes": "os._exit(1)",
    "answers 500": "raise RuntimeError('a fault of the benchmark')",
    "hangs": "await asyncio.sleep(3600)",
    "is five times slower": "await asyncio.sleep(4 * USUAL_S)",
}
"""What a candidate of a fault does with a prediction, after a second of good ones, by the fault."""

USUAL_S = 0.0025
"""Half of the requests are answered within this time by a revision without faults."""

PATCH = """
import asyncio, os, sys, time
USUAL_S = {usual_s}
if "winnow.serving" in sys.orig_argv and "2" in sys.orig_argv[sys.orig_argv.index("--model-version"):][1:2]:
    from winnow.serving.app import App
    answer, first = App.{method}, []
    async def faulty(*arguments):
        first.append(time.monotonic()) if not first else None
        if time.monotonic() - first[0] > 1:
            {fault}
        return await answer(*arguments)
    App.{method} = faulty
"""


class Platform(Protocol):
    """Where deployments are made, in a folder of their own."""

    releases: dict[str, Release]
    settings: ReplicaSettings
    hosts: str
    """Requests go to this host below a deployment's name; empty: to an address of its own."""

    def deployer(self) -> Deployer:
        """What changes them."""

    def kill(self, identifier: str) -> None:
        """End a replica or a router with SIGKILL."""

    def misbehave(self, patch: str) -> None:
        """From now on replicas of the second release load this module at their start."""


@dataclass
class OnThisMachine:
    """Processes."""

    folder: Path
    releases: dict[str, Release]
    settings: ReplicaSettings = PLAIN
    hosts: str = ""

    def deployer(self) -> Deployer:
        """See `Platform`."""
        patches = self.folder / "patches"
        patches.mkdir(parents=True, exist_ok=True)
        return LocalDeployer(self.folder / "home", environment={**os.environ, "PYTHONPATH": str(patches)})

    def kill(self, identifier: str) -> None:
        """See `Platform`."""
        os.kill(int(identifier), signal.SIGKILL)

    def misbehave(self, patch: str) -> None:
        """See `Platform`."""
        (self.folder / "patches" / "sitecustomize.py").write_text(patch)


@dataclass
class OnDocker:
    """Containers of an engine of this machine."""

    folder: Path
    releases: dict[str, Release]
    settings: ReplicaSettings = PLAIN
    hosts: str = ""

    def __post_init__(self) -> None:
        self.releases = {each: serving_images.with_image(found) for each, found in self.releases.items()}

    def deployer(self) -> Deployer:
        """See `Platform`."""
        return DockerDeployer(self.folder)

    def kill(self, identifier: str) -> None:
        """See `Platform`."""
        os.kill(connect().containers.get(identifier).attrs["State"]["Pid"], signal.SIGKILL)

    def misbehave(self, patch: str) -> None:
        """See `Platform`. An image of the same release with one file more."""
        image = serving_images.patched(self.releases["second"].image, patch, self.folder / "patched")
        self.releases["second"] = replace(self.releases["second"], image=image)


@dataclass
class OnKubernetes:
    """Pods of a namespace, behind the Ingress, made with the permissions of the Role alone."""

    folder: Path
    releases: dict[str, Release]
    where: Place
    settings: ReplicaSettings = SMALL
    hosts: str = "localhost"

    def __post_init__(self) -> None:
        built = {each: serving_images.with_image(found) for each, found in self.releases.items()}
        self.releases = {each: serving.delivered(found, self.where) for each, found in built.items()}
        self._plain = built["second"]

    def deployer(self) -> Deployer:
        """See `Platform`."""
        return KubernetesDeployer(self.folder, environment=serving.Site(self.where, "").environment())

    def kill(self, identifier: str) -> None:
        """See `Platform`. Nothing inside its container could."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_of = f"HOSTNAME={identifier}".encode() in (process / "environ").read_bytes().split(b"\0")
                if is_of and b"winnow.serving" in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def misbehave(self, patch: str) -> None:
        """See `Platform`. An image of the same release with one file more."""
        image = serving_images.patched(self._plain.image, patch, self.folder / "patched")
        self.releases["second"] = serving.delivered(replace(self._plain, image=image), self.where)


@contextlib.contextmanager
def platform(kind: str, folder: Path, releases: dict[str, Release]) -> Iterator[Platform]:
    """A place for deployments of their own."""
    if kind == "kubernetes":
        with place(folder) as where:
            yield OnKubernetes(folder, releases, where)
    else:
        yield OnDocker(folder, releases) if kind == "docker" else OnThisMachine(folder, releases)


@dataclass
class Site:
    """A deployment of its own, whose changes are measured. Another process can be sent it."""

    platform: Platform
    rate_per_s: float
    only: str = ""
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")
    end: str = ""

    @property
    def deployer(self) -> Deployer:
        """What changes the deployment."""
        return self.platform.deployer()

    def serve(
        self,
        release: str,
        replicas: int = 2,
        *,
        is_canary: bool = False,
        on_observation: Callable[[Observation], None] = lambda _observed: None,
    ) -> None:
        """Drive to a release, and keep how it ended."""
        made, settings = self.platform.releases[release], self.platform.settings
        wanted = Revision(0, made, settings, Scale(replicas), "same", is_classifier=True)
        target = revision_for(observe(self.deployer, self.name), wanted)
        rollout = RolloutConfig(
            strategy="canary" if is_canary else "rolling",
            initial_weight=WEIGHTS[0],
            weight_steps=WEIGHTS[1:],
            step_duration_seconds=STEP_S,
            max_step_duration_seconds=48 * STEP_S,
        )
        entry = Entry(host=f"{self.name}.{self.platform.hosts}") if self.platform.hosts else None
        now = time.time()
        desired = Desired(target, steps_of(rollout), rollout.strategy, ready_within_s=60, started=now, entry=entry)
        driver = Driver(self.deployer, self.name, desired, judge=StepJudge(), on_observation=on_observation)
        try:
            end = driver.drive()
            self.end = f"{type(end).__name__.lower()}: {getattr(end, 'reason', '')}".removesuffix(": ")
        except DeploymentFailedError as error:
            self.end = f"failed: {str(error).splitlines()[0]}"

    def row(self, what: str, change: Callable[[], object]) -> None:
        """Print a line of the table: what became of the requests beside a change."""
        if re.search(self.only, what) is None:
            return
        observed, self.end = self.deployer.observe(self.name), ""
        assert observed.record.serving is not None
        body = (observed.record.serving.release.bundle / EXAMPLE).read_bytes()
        load = Load(
            f"{observed.url}/predict", body, rate_per_s=self.rate_per_s, most=int(self.rate_per_s * MOST_SECONDS)
        )
        started = time.perf_counter()
        with running(load, lead_s=LEAD_S) as outcome:
            change()
            seconds = time.perf_counter() - started - LEAD_S
        print(_row(what, seconds, outcome, self.end), flush=True)


def _row(what: str, seconds: float, outcome: Outcome, end: str) -> str:
    failed = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcome.failed.items())) or "0"
    versions = ", ".join(f"{version}: {count}" for version, count in sorted(outcome.versions.items()))
    late = f"{outcome.percentile(50):.1f} ms | {outcome.percentile(99):.0f} ms | {max(outcome.latencies_ms):.0f} ms"
    return f"| {what} | {seconds:.1f} s | {outcome.sent} | {failed} | {versions} | {late} | {end} |"


def measure(site: Site) -> None:
    """Every change once."""
    site.serve("first")
    site.row("none", lambda: time.sleep(5))
    site.row("update", lambda: site.serve("second"))
    site.row("rollback", lambda: site.serve("first"))
    site.row("scale 2 to 4", lambda: site.serve("first", 4))
    site.row("scale 4 to 2", lambda: site.serve("first", 2))
    site.row("SIGKILL of 1 replica of 2", lambda: _kill_one(site))
    _canary(site, "good", lambda: site.serve("second", is_canary=True))
    _canary(site, "not ready", lambda: site.serve("broken", is_canary=True))
    candidates = _killing(site, lambda observed: observed.of(observed.record.route.candidate or 0))
    _canary(site, "SIGKILL", lambda: site.serve("second", is_canary=True, on_observation=candidates))
    one_router = _killing(site, lambda observed: observed.routers[:1])
    _canary(site, "SIGKILL of 1 router of 2", lambda: site.serve("second", is_canary=True, on_observation=one_router))
    routers = _killing(site, lambda observed: observed.routers)
    _canary(site, "SIGKILL of all routers", lambda: site.serve("second", is_canary=True, on_observation=routers))
    _canary(site, "drivers, routers and replicas get SIGKILL at random", lambda: _canary_of_killed_drivers(site))
    for fault, line in FAULTS.items():
        site.platform.misbehave(PATCH.format(usual_s=USUAL_S, fault=line, method=App._post.__name__))
        _canary(site, fault, lambda: site.serve("second", is_canary=True))


def _canary(site: Site, what: str, change: Callable[[], object]) -> None:
    """A row of a canary, and everything as before."""
    site.row(f"canary, {what}", change)
    site.serve("first")


def _kill_one(site: Site) -> None:
    site.platform.kill(site.deployer.observe(site.name).replicas[0].identifier)
    time.sleep(1)
    site.serve("first")


def _killing(site: Site, which: Callable[[Observation], Sequence[ReplicaObserved]]) -> Callable[[Observation], None]:
    """Kill some of the servers once, two seconds after the rollout has begun."""
    killed: list[str] = []

    def look(observed: Observation) -> None:
        rollout = observed.record.rollout
        if rollout is not None and rollout.is_open and time.time() - rollout.started_at > 2 and not killed:
            killed.extend(each.identifier for each in which(observed))
            for each in killed:
                site.platform.kill(each)

    return look


def _canary_of_killed_drivers(site: Site) -> None:
    """Drive a canary by a process that is killed and started again; meanwhile kill routers and replicas, too.

    A router, or a replica of the stable revision, is killed where another one is ready: of a candidate, a replica that
    dies ends the rollout. After the last kill the rollout goes on to its end.
    """
    chance = random.Random(0)
    killed: Counter[str] = Counter()
    driver = _driven(site)
    for _ in range(KILLS):
        driver.join(chance.uniform(*KILL_EVERY_S))
        if not driver.is_alive():
            break
        observed = site.deployer.observe(site.name)
        kinds = {"router": observed.routers, "replica": observed.of(observed.record.route.stable)}
        kind = chance.choice(("driver", *kinds))
        ready = [each for each in kinds.get(kind, ()) if each.is_ready]
        if kind == "driver":
            driver.kill()
            driver.join()
            driver = _driven(site)
        elif len(ready) > 1:
            site.platform.kill(chance.choice(ready).identifier)
        else:
            continue
        killed[kind] += 1
    driver.join()
    rollout = site.deployer.observe(site.name).record.rollout
    end = f"{rollout.state}: {rollout.reason}" if rollout is not None else ""
    site.end = f"{end}; killed: {', '.join(f'{count} × {kind}' for kind, count in sorted(killed.items()))}"


def _driven(site: Site) -> BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_canary_to_its_end, args=(site,), daemon=True)
    process.start()
    return process


def _canary_to_its_end(site: Site) -> None:
    site.serve("second", is_canary=True)


def main(where: str, rate_per_s: float, only: str) -> None:
    """Measure one platform."""
    with tempfile.TemporaryDirectory(prefix="winnow-rollout-") as name:
        folder = Path(name)
        print(f"{where}: {os.cpu_count()} cores, {rate_per_s:g} requests/s, half of them on connections of their own\n")
        print("| change | took | requests | failed | answered by version | p50 | p99 | slowest | end |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        with platform(where, folder / "platform", serving_images.make_releases(folder / "models")) as found:
            site = Site(found, rate_per_s, only)
            try:
                measure(site)
            finally:
                site.deployer.remove(site.name)


if __name__ == "__main__":
    given = [*sys.argv[1:], *("local", str(RATE_PER_S), "")[len(sys.argv) - 1 :]]
    main(given[0], float(given[1]), given[2])

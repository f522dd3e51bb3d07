"""Requests that fail, and how long they take, while a deployment is updated, scaled, rolled out and shot at.

An open-loop load of a bounded number of requests runs beside each change; every request is accounted for. The driver is
the one of `make prod-*`. On this machine candidates also misbehave while they serve: a module that Python loads at
its start changes the server of version 2. Docker needs an engine of this machine, and root to kill.

    python benchmarks/rollout_load.py [local|docker] [requests per second]
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running

from winnow.bundle.manifest import EXAMPLE
from winnow.config.serving import RolloutConfig
from winnow.orchestrators.drive import Driver, observe
from winnow.orchestrators.judge import StepJudge
from winnow.platforms.deployer import Deployer, DeploymentFailedError
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.deployer import DockerDeployer
from winnow.platforms.local.deployer import LocalDeployer
from winnow.rollout.plan import steps_of
from winnow.rollout.step import Desired, revision_for
from winnow.routing import Observation, Release, ReplicaSettings, Revision, Scale

RATE_PER_S = 100.0
MOST_SECONDS = 300
LEAD_S = 1.0
STEP_S = 5.0
WEIGHTS = (0.25, 0.5, 1.0)
FAULTS = {
    "crashes": "os._exit(1)",
    "answers 500": "raise RuntimeError('a fault of the benchmark')",
    "hangs": "await asyncio.sleep(3600)",
    "is slow": "await asyncio.sleep(0.02)",
}
"""What a candidate of a fault does with a prediction, after a second of good ones, by the fault."""

PATCH = """
import asyncio, os, sys, time
if "winnow.serving" in sys.orig_argv and "2" in sys.orig_argv[sys.orig_argv.index("--model-version"):][1:2]:
    from winnow.serving.app import App
    predict, first = App._predict, []
    async def faulty(*arguments):
        first.append(time.monotonic()) if not first else None
        if time.monotonic() - first[0] > 1:
            FAULT
        return await predict(*arguments)
    App._predict = faulty
"""


class Site:
    """A deployment of its own, whose changes are measured."""

    def __init__(self, deployer: Deployer, releases: Mapping[str, Release], rate_per_s: float) -> None:
        self.name = f"t{secrets.token_hex(4)}"
        self.deployer, self._releases, self._rate = deployer, releases, rate_per_s
        self.end = ""

    def serve(
        self,
        release: str,
        replicas: int = 2,
        *,
        is_canary: bool = False,
        on_observation: Callable[[Observation], None] = lambda _observed: None,
    ) -> None:
        """Drive to a release, and keep how it ended."""
        settings = ReplicaSettings(drain_s=5)
        wanted = Revision(0, self._releases[release], settings, Scale(replicas), "same", is_classifier=True)
        target = revision_for(observe(self.deployer, self.name), wanted)
        rollout = RolloutConfig(
            strategy="canary" if is_canary else "rolling",
            initial_weight=WEIGHTS[0],
            weight_steps=WEIGHTS[1:],
            step_duration_seconds=STEP_S,
            max_step_duration_seconds=24 * STEP_S,
        )
        desired = Desired(target, steps_of(rollout), rollout.strategy, ready_within_s=60, started=time.time())
        driver = Driver(self.deployer, self.name, desired, judge=StepJudge(), on_observation=on_observation)
        try:
            end = driver.drive()
            self.end = f"{type(end).__name__.lower()}: {getattr(end, 'reason', '')}".removesuffix(": ")
        except DeploymentFailedError as error:
            self.end = f"failed: {str(error).splitlines()[0]}"

    def row(self, what: str, change: Callable[[], object]) -> None:
        """Print a line of the table: what became of the requests beside a change."""
        observed, self.end = self.deployer.observe(self.name), ""
        assert observed.record.serving is not None
        body = (observed.record.serving.release.bundle / EXAMPLE).read_bytes()
        load = Load(f"{observed.url}/predict", body, rate_per_s=self._rate, most=int(self._rate * MOST_SECONDS))
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


def measure(site: Site, kill: Callable[[str], None], faults: Iterator[tuple[str, Callable[[], object]]]) -> None:
    """Every change once. `faults`: what makes the next candidate misbehave."""

    def killing(number: Callable[[Observation], int | None]) -> Callable[[Observation], None]:
        """Once, at the second step: every replica of a revision, or every router."""
        killed: list[str] = []

        def look(observed: Observation) -> None:
            rollout = observed.record.rollout
            which = number(observed)
            if rollout is not None and rollout.is_open and rollout.step == 1 and which is not None and not killed:
                found = observed.of(which) if which else observed.routers
                killed.extend(each.identifier for each in found)
                for each in killed:
                    kill(each)

        return look

    def kill_one() -> None:
        kill(site.deployer.observe(site.name).replicas[0].identifier)
        time.sleep(1)
        site.serve("first")

    site.serve("first")
    site.row("none", lambda: time.sleep(5))
    site.row("update", lambda: site.serve("second"))
    site.row("rollback", lambda: site.serve("first"))
    site.row("scale 2 to 4", lambda: site.serve("first", 4))
    site.row("scale 4 to 2", lambda: site.serve("first", 2))
    site.row("SIGKILL of 1 replica of 2", kill_one)
    site.row("canary, good", lambda: site.serve("second", is_canary=True))
    site.serve("first")
    site.row("canary, not ready", lambda: site.serve("broken", is_canary=True))
    candidate, router = killing(lambda each: each.record.route.candidate), killing(lambda _each: 0)
    site.row("canary, SIGKILL", lambda: site.serve("second", is_canary=True, on_observation=candidate))
    site.serve("first")
    site.row("canary, routers' SIGKILL", lambda: site.serve("second", is_canary=True, on_observation=router))
    site.serve("first")
    for fault, begin in faults:
        begin()
        site.row(f"canary, {fault}", lambda: site.serve("second", is_canary=True))
        if site.deployer.observe(site.name).record.route.candidate is not None:
            site.serve("first")


def _on_this_machine(folder: Path, releases: Mapping[str, Release], rate_per_s: float) -> None:
    patches = folder / "patches"
    patches.mkdir(parents=True)
    deployer = LocalDeployer(folder / "home", environment={**os.environ, "PYTHONPATH": str(patches)})
    site = Site(deployer, releases, rate_per_s)

    def faults() -> Iterator[tuple[str, Callable[[], object]]]:
        for fault, line in FAULTS.items():
            text = PATCH.replace("FAULT", line)
            yield fault, lambda text=text: (patches / "sitecustomize.py").write_text(text)  # type: ignore[misc]

    with contextlib.closing(_Removed(site)):
        measure(site, lambda process: os.kill(int(process), signal.SIGKILL), faults())


def _on_docker(folder: Path, releases: Mapping[str, Release], rate_per_s: float) -> None:
    site = Site(
        DockerDeployer(folder), {each: serving_images.with_image(found) for each, found in releases.items()}, rate_per_s
    )

    def kill(container: str) -> None:
        os.kill(connect().containers.get(container).attrs["State"]["Pid"], signal.SIGKILL)

    with contextlib.closing(_Removed(site)):
        measure(site, kill, iter(()))


class _Removed:
    """Closes by removing a site's deployment."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def close(self) -> None:
        self._site.deployer.remove(self._site.name)


def main(where: str, rate_per_s: float) -> None:
    """Measure one platform."""
    with tempfile.TemporaryDirectory(prefix="winnow-rollout-") as name:
        folder = Path(name)
        print(f"{where}: {os.cpu_count()} cores, {rate_per_s:g} requests/s, half of them on connections of their own\n")
        print("| change | took | requests | failed | answered by version | p50 | p99 | slowest | end |")
        print("|---|---|---|---|---|---|---|---|---|", flush=True)
        made = serving_images.make_releases(folder / "models")
        {"local": _on_this_machine, "docker": _on_docker}[where](folder / "platform", made, rate_per_s)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "local", float(sys.argv[2]) if sys.argv[2:] else RATE_PER_S)

"""Requests that fail, and how long they take, while a deployment on Docker is rolled, rolled back, scaled and shot at.

An open-loop load of a bounded number of requests runs beside each change; every request is accounted for. Needs a
Docker engine of this machine and, for the last row, root. Prints one row for each change; without an engine, that.

    python benchmarks/rollout_load.py [requests per second]
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running

from winnow.bundle.manifest import EXAMPLE
from winnow.config.errors import InputError
from winnow.containers.engine import connect
from winnow.deployers.deployer import Deployment, DeploymentRequest, Release
from winnow.deployers.docker import DockerDeployer

RATE_PER_S = 100.0
MOST_SECONDS = 30
LEAD_S = 2.0


class Rollout:
    """A deployment of its own, whose changes are measured."""

    def __init__(self, folder: Path, rate_per_s: float) -> None:
        self.name = f"t{secrets.token_hex(4)}"
        self.deployer = DockerDeployer(folder)
        self._rate = rate_per_s

    def deploy(self, release: Release, replicas: int | None = None) -> Deployment:
        request = DeploymentRequest(self.name, release, replicas)
        return self.deployer.deploy(self.deployer.plan(request))

    def row(self, what: str, change: Callable[[], object]) -> str:
        """A line of the table: what became of the requests beside a change."""
        status = self.deployer.status(self.name)
        body = (status.release.bundle / EXAMPLE).read_bytes()
        most = int(self._rate * MOST_SECONDS)
        load = Load(f"{status.url}/predict", body, rate_per_s=self._rate, most=most)
        started = time.perf_counter()
        with running(load, lead_s=LEAD_S) as outcome:
            change()
        return _row(what, time.perf_counter() - started - 2 * LEAD_S, outcome)

    def kill(self) -> None:
        """Kill a replica from the host, as a crash would, and let it come back."""
        victim = connect().containers.get(self.deployer.status(self.name).replicas[0].identifier)
        os.kill(victim.attrs["State"]["Pid"], signal.SIGKILL)
        time.sleep(5)


def _row(what: str, seconds: float, outcome: Outcome) -> str:
    failed = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcome.failed.items())) or "0"
    versions = ", ".join(f"{version}: {count}" for version, count in sorted(outcome.versions.items()))
    late = f"{outcome.percentile(50):.1f} ms | {outcome.percentile(99):.0f} ms | {max(outcome.latencies_ms):.0f} ms"
    return f"| {what} | {seconds:.1f} s | {outcome.sent} | {failed} | {versions} | {late} |"


def main(rate_per_s: float) -> None:
    """Measure every change once."""
    with tempfile.TemporaryDirectory(prefix="winnow-rollout-") as place:
        folder = Path(place)
        releases = {
            name: serving_images.with_image(each)
            for name, each in serving_images.make_releases(folder).items()
            if name != "broken"
        }
        rollout = Rollout(folder / "home", rate_per_s)
        first, second = releases["first"], releases["second"]
        print(f"{os.cpu_count()} cores, {rate_per_s:g} requests/s, half of them on connections of their own\n")
        print("| change | took | requests | failed | answered by version | p50 | p99 | slowest |")
        print("|---|---|---|---|---|---|---|---|")
        try:
            rollout.deploy(first, 3)
            print(rollout.row("none, 3 replicas", lambda: time.sleep(5)), flush=True)
            print(rollout.row("roll to another model", lambda: rollout.deploy(second)), flush=True)
            back = rollout.deployer
            print(
                rollout.row("roll back", lambda: back.deploy(back.plan_rollback(rollout.name))),
                flush=True,
            )
            print(rollout.row("scale up, 3 to 4", lambda: rollout.deploy(first, 4)), flush=True)
            print(rollout.row("scale down, 4 to 2", lambda: rollout.deploy(first, 2)), flush=True)
            if os.geteuid() == 0:
                print(rollout.row("kill -9 of 1 replica of 2", rollout.kill), flush=True)
        finally:
            serving_images.remove_deployment(rollout.name)


if __name__ == "__main__":
    try:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else RATE_PER_S)
    except InputError as error:
        print(f"not measured: {error}")

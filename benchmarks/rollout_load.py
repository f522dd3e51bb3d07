"""Requests that fail, and how long they take, while a deployment is rolled, rolled back, scaled and shot at.

An open-loop load of a bounded number of requests runs beside each change; every request is accounted for. One table for
Docker, which needs an engine of this machine and, for its last row, root; one for Kubernetes, through the Ingress,
which needs what `make test-kubernetes` needs. Where there is none, it says so.

    python benchmarks/rollout_load.py [requests per second] [docker|kubernetes]
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running
from tests.kubernetes import serving
from tests.kubernetes.places import place
from tests.kubernetes.serving import ONLY_BY_HAND, Site
from winnow.platforms.docker.release_deployer import DockerDeployer
from winnow.platforms.kubernetes.release_deployer import KubernetesDeployer
from winnow.platforms.release_deployer import (
    Deployer,
    Deployment,
    DeploymentRequest,
    DeploymentState,
)

from winnow.bundle.manifest import EXAMPLE
from winnow.config.errors import InputError
from winnow.platforms.docker.client import connect
from winnow.routing import Release

RATE_PER_S = 100.0
MOST_SECONDS = 60
LEAD_S = 2.0


class Rollout:
    """A deployment of its own, whose changes are measured."""

    def __init__(self, name: str, deployer: Deployer[Any], rate_per_s: float) -> None:
        self.name = name
        self._deployer = deployer
        self._rate = rate_per_s

    def deploy(self, release: Release, replicas: int | None = None) -> Deployment:
        """Serve a release."""
        return self._deployer.deploy(self._deployer.plan(DeploymentRequest(self.name, release, replicas)))

    def roll_back(self) -> Deployment:
        """Serve what was served before."""
        return self._deployer.deploy(self._deployer.plan_rollback(self.name))

    def replicas(self) -> list[str]:
        """What serves now."""
        return [each.identifier for each in self._deployer.status(self.name).replicas]

    def wait(self, replicas: int) -> None:
        """Return when so many serve, and all are ready."""
        deadline = time.monotonic() + MOST_SECONDS
        while time.monotonic() < deadline:
            status = self._deployer.status(self.name)
            if (len(status.replicas), status.state) == (replicas, DeploymentState.READY):
                return
            time.sleep(0.2)

    def row(self, what: str, change: Callable[[], object]) -> None:
        """Print a line of the table: what became of the requests beside a change."""
        status = self._deployer.status(self.name)
        body = (status.release.bundle / EXAMPLE).read_bytes()
        most = int(self._rate * MOST_SECONDS)
        load = Load(f"{status.url}/predict", body, rate_per_s=self._rate, most=most)
        started = time.perf_counter()
        with running(load, lead_s=LEAD_S) as outcome:
            change()
        print(_row(what, time.perf_counter() - started - 2 * LEAD_S, outcome), flush=True)


def _row(what: str, seconds: float, outcome: Outcome) -> str:
    failed = ", ".join(f"{count} × {kind}" for kind, count in sorted(outcome.failed.items())) or "0"
    versions = ", ".join(f"{version}: {count}" for version, count in sorted(outcome.versions.items()))
    late = f"{outcome.percentile(50):.1f} ms | {outcome.percentile(99):.0f} ms | {max(outcome.latencies_ms):.0f} ms"
    return f"| {what} | {seconds:.1f} s | {outcome.sent} | {failed} | {versions} | {late} |"


def on_docker(folder: Path, releases: Mapping[str, Release], rate_per_s: float) -> None:
    """Measure every change once."""
    rollout = Rollout(f"t{secrets.token_hex(4)}", DockerDeployer(folder), rate_per_s)
    first, second = releases["first"], releases["second"]

    def kill() -> None:
        """Kill a replica from the host, as a crash would, and let it come back."""
        os.kill(connect().containers.get(rollout.replicas()[0]).attrs["State"]["Pid"], signal.SIGKILL)
        time.sleep(5)

    try:
        rollout.deploy(first, 3)
        _print_head("Docker", rate_per_s)
        rollout.row("none, 3 replicas", lambda: time.sleep(5))
        rollout.row("roll to another model", lambda: rollout.deploy(second))
        rollout.row("roll back", rollout.roll_back)
        rollout.row("scale up, 3 to 4", lambda: rollout.deploy(first, 4))
        rollout.row("scale down, 4 to 2", lambda: rollout.deploy(first, 2))
        if os.geteuid() == 0:
            rollout.row("kill -9 of 1 replica of 2", kill)
    finally:
        serving_images.remove_deployment(rollout.name)


def on_kubernetes(folder: Path, releases: Mapping[str, Release], rate_per_s: float) -> None:
    """Measure every change once, in a namespace of its own."""
    with place(folder) as where:
        site = Site(where, f"t{secrets.token_hex(4)}", {"WINNOW_SETTLE_S": "5", **ONLY_BY_HAND})
        rollout = Rollout(site.name, KubernetesDeployer(where.home, environment=site.environment()), rate_per_s)
        first, second = (serving.delivered(releases[each], where) for each in ("first", "second"))

        def scale_down() -> None:
            rollout.deploy(first, 2)
            rollout.wait(2)
            time.sleep(7)  # until those that leave have left

        def evict_all() -> None:
            for pod in rollout.replicas():
                while site.evict(pod):  # the budget allows the next when another is ready in the place of the last
                    time.sleep(0.5)
            rollout.wait(2)
            time.sleep(7)

        def kill() -> None:
            site.kill(rollout.replicas()[0])
            time.sleep(5)

        rollout.deploy(first, 3)
        _print_head("Kubernetes", rate_per_s)
        rollout.row("none, 3 replicas", lambda: time.sleep(5))
        rollout.row("roll to another model", lambda: rollout.deploy(second))
        rollout.row("roll back", rollout.roll_back)
        rollout.deploy(first, 1)
        rollout.wait(1)
        rollout.row("scale up, 1 to 4", lambda: rollout.deploy(first, 4))
        rollout.row("scale down, 4 to 2", scale_down)
        rollout.row("eviction of both replicas in turn", evict_all)
        rollout.row("end of 1 replica of 2 at once", kill)


def _print_head(where: str, rate_per_s: float) -> None:
    print(f"{where}: {os.cpu_count()} cores, {rate_per_s:g} requests/s, half of them on connections of their own\n")
    print("| change | took | requests | failed | answered by version | p50 | p99 | slowest |")
    print("|---|---|---|---|---|---|---|---|")


def main(rate_per_s: float, where: str) -> None:
    """Measure what there is."""
    with tempfile.TemporaryDirectory(prefix="winnow-rollout-") as name:
        folder = Path(name)
        made = serving_images.make_releases(folder)
        releases = {each: serving_images.with_image(made[each]) for each in ("first", "second")}
        if where != "kubernetes":
            on_docker(folder / "docker", releases, rate_per_s)
        missing = [each for each in ("WINNOW_REGISTRY", "WINNOW_INGRESS_URL") if not os.environ.get(each)]
        if where != "docker" and missing:
            print(f"Kubernetes: not measured: {', '.join(missing)} is not set")
        elif where != "docker":
            on_kubernetes(folder / "kubernetes", releases, rate_per_s)


if __name__ == "__main__":
    rate, *tiers = [*sys.argv[1:], *([str(RATE_PER_S), ""][len(sys.argv[1:]) :])]
    try:
        main(float(rate), tiers[0])
    except InputError as error:
        print(f"not measured: {error}")

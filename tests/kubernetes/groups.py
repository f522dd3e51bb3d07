"""Worker groups for tests on a real cluster: studies of names that nobody else has, in a namespace that tests share."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.kubernetes.places import PYTHON_IMAGE, ROOT, Place
from winnow.config.experiment import KubernetesConfig
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.delivery import deliver
from winnow.platforms.executor import GroupResources, GroupSpec
from winnow.platforms.images import ImageRoute
from winnow.platforms.kubernetes import manifests
from winnow.platforms.kubernetes.executor import KubernetesExecutor
from winnow.platforms.kubernetes.group_plan import KubernetesWorkers, object_name
from winnow.platforms.labels import GROUP, STUDY

SLEEP = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
    "print('at work', flush=True); time.sleep(120)"
)
SMALL = GroupResources(cpus=0.02, memory_bytes=64 * 2**20, shm_bytes=2**20)


@dataclass(frozen=True)
class Sandbox:
    """A study of its own in a namespace; `home` is where executors over it keep logs."""

    place: Place
    study: str
    home: Path
    workers: KubernetesWorkers

    def executor(self, home: Path | None = None, **workers: Any) -> KubernetesExecutor:
        """Another one in the same namespace, as another process would have it."""
        return KubernetesExecutor(self.place.cluster(), replace(self.workers, **workers), home or self.home)

    def group(self, code: str = SLEEP, name: str = "p0", **others: Any) -> GroupSpec:
        """A group that runs Python code, by default until it is stopped."""
        whole = {"resources": SMALL, "options": KubernetesConfig(), **others}
        return GroupSpec(self.study, name, ("python3", "-c", code), {"WINNOW_TEST": "1"}, **whole)

    def name(self, group: str = "p0") -> str:
        """What a group's objects are called."""
        return object_name(self.study, group)

    def pods(self, group: str = "p0") -> dict[int, dict[str, Any]]:
        """A group's pods that are not on their way out, by index; of several the newest."""
        found = self.place.admin.json("get", "pods", "--selector", f"{STUDY}={self.study},{GROUP}={group}")["items"]
        found.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
        return {
            int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]): pod
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
        }

    def job(self, group: str = "p0") -> dict[str, Any]:
        """A group's Job."""
        found: dict[str, Any] = self.place.admin.json("get", "job", self.name(group))
        return found

    def left(self) -> list[str]:
        """Names of all that the namespace holds for this study."""
        return sorted(self.place.admin.names("jobs,pods,services,secrets", "--selector", f"{STUDY}={self.study}"))


def sandbox(place: Place, home: Path) -> Sandbox:
    """A study without groups."""
    return Sandbox(place, f"t{uuid.uuid4().hex[:10]}", home, workers(place))


def remove(here: Sandbox) -> None:
    """Take away all that is left of a study."""
    chosen = ("--selector", f"{STUDY}={here.study}")
    here.place.admin("delete", "jobs", *chosen, "--wait=false", "--cascade=foreground")
    here.place.admin("delete", "pods", *chosen, "--wait=false", "--force", "--grace-period=0")


_WORKERS: dict[str, KubernetesWorkers] = {}


def workers(place: Place) -> KubernetesWorkers:
    """A small image, brought to the cluster once, and the project's own manifests."""
    if place.namespace not in _WORKERS:
        engine = connect()
        identifier = str(engine.images.get(PYTHON_IMAGE).id)
        route = ImageRoute.from_environment(place.environment, cluster="tests", home=place.home)
        image = deliver(engine, identifier, PYTHON_IMAGE, route)
        engine.close()
        _WORKERS[place.namespace] = KubernetesWorkers(image, manifests.load(ROOT / "k8s" / "train"))
    return _WORKERS[place.namespace]


def wait_until(fact: Callable[[], bool], timeout_s: float = 40.0) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.25)

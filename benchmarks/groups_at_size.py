"""What it takes to start, follow and end many large worker groups on a cluster, in seconds and in API requests.

By default 200 groups of 8 pods with a GPU each, on simulated nodes (https://kwok.sigs.k8s.io), whose pods run nothing:
what is measured is winnow's side and the cluster's own machinery. Nothing is trained. Printed for each step are its
seconds, those of them that winnow itself computed, the requests that it took, and those per group:

    plan      the manifests of all groups
    submit    from the first start to the last answer; how long until all pods run is printed beside it
    follow    looking once a second for half a minute, after that
    cancel    until the last pod and Job are gone, which the cluster's own pace decides: a controller manager sends 20
              requests a second unless it is told otherwise (--kube-api-qps), and has one to send for every pod

It works in the namespace that WINNOW_NAMESPACE or kubeconfig's context names, and leaves nothing there:

    python benchmarks/groups_at_size.py --node-selector type=kwok --tolerate kwok.x-k8s.io/node \\
        [--annotation NAME=VALUE that has simulated pods run on] [--groups 200] [--nodes 8]

Without simulated nodes, as `make bench` runs it, it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from winnow.config.experiment import KubernetesConfig
from winnow.orchestrators.supervise import AT_ONCE, GRACE_S
from winnow.platforms.docker.client import STUDY
from winnow.platforms.executor import GroupResources, GroupSpec
from winnow.platforms.kubernetes import manifests
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.executor import KubernetesExecutor
from winnow.platforms.kubernetes.group_plan import KubernetesWorkers
from winnow.platforms.kubernetes.kinds import JOB, POD

ROOT = Path(__file__).parents[1]
STUDY_NAME = "groups-at-size"
FOLLOW_S = 30
START_TIMEOUT_S = 300


@dataclass
class Step:
    """What one step took."""

    name: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    requests: int = 0
    note: str = ""


def main() -> int:
    """Measure, print, and leave nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=8, help="pods of a group")
    parser.add_argument("--node-selector", metavar="LABEL=VALUE", help="of the simulated nodes")
    parser.add_argument("--tolerate", metavar="KEY", help="the simulated nodes' taint")
    parser.add_argument("--annotation", metavar="NAME=VALUE", help="of the pods")
    asked = parser.parse_args()
    if asked.node_selector is None:
        print("groups_at_size: left out, since no simulated nodes are named (--node-selector)")
        return 0
    groups = plan_groups(asked)
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as home:
        steps = measure(connect(), groups, asked.nodes, Path(home))
    report(steps, len(groups))
    return 0


def plan_groups(asked: argparse.Namespace) -> list[GroupSpec]:
    """The groups, all alike."""
    config = KubernetesConfig(
        node_selector=pair(asked.node_selector),
        tolerations=({"key": asked.tolerate, "operator": "Exists"},) if asked.tolerate else (),
        annotations=pair(asked.annotation) if asked.annotation else {},
    )
    address = {"WINNOW_STORAGE": "postgresql://winnow:secret@postgres/winnow", "MLFLOW_TRACKING_URI": "http://mlflow"}
    resources = GroupResources(cpus=1, memory_bytes=2**30, gpus=("0",))
    argv = ("python", "-m", "winnow.worker.group", "--study", STUDY_NAME)
    return [
        GroupSpec(
            STUDY_NAME,
            f"p{index}",
            (*argv, "--group", f"p{index}"),
            address,
            nodes=asked.nodes,
            resources=resources,
            kubernetes=config,
        )
        for index in range(asked.groups)
    ]


def pair(text: str) -> dict[str, str]:
    """`NAME=VALUE` as a map."""
    name, _, value = text.partition("=")
    return {name: value}


def measure(cluster: Cluster, groups: list[GroupSpec], nodes: int, home: Path) -> list[Step]:
    """All steps, with nothing left behind."""
    workers = KubernetesWorkers("winnow-train:simulated", manifests.load(ROOT / "k8s" / "train"))
    executor = KubernetesExecutor(cluster, workers, home)
    steps = [Step("plan"), Step("submit"), Step("follow"), Step("cancel")]
    plan, submit, follow, cancel = steps
    with timed(plan, cluster):
        lines = executor.plan(groups)
    plan.note = f"{len(lines)} lines of YAML"
    started_at = time.monotonic()
    try:
        with timed(submit, cluster), ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(executor.start, groups))
        submit.note = f"all pods run after {await_running(cluster, len(groups) * nodes) - started_at:.1f} s"
        with timed(follow, cluster), executor.watch(STUDY_NAME) as look:
            looks = [look_once(look) for _ in range(FOLLOW_S)]
        follow.note = f"a look takes {1000 * sorted(looks)[len(looks) // 2]:.0f} ms (median)"
    finally:
        with timed(cancel, cluster):
            executor.cancel_all(STUDY_NAME, GRACE_S)
            executor.clear(STUDY_NAME)
        left = [len(cluster.find(kind, {STUDY: STUDY_NAME}).items) for kind in (JOB, POD)]
        cancel.note = f"{left[0]} Jobs and {left[1]} pods are left"
    return steps


def look_once(look: Callable[[], object]) -> float:
    """Seconds that one look at all groups takes; a second passes in all."""
    began = time.monotonic()
    look()
    took = time.monotonic() - began
    time.sleep(max(0.0, 1.0 - took))
    return took


def await_running(cluster: Cluster, pods: int) -> float:
    """When all pods run."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        found = cluster.find(POD, {STUDY: STUDY_NAME}, fields="status.phase=Running").items
        if len(found) >= pods:
            return time.monotonic()
        if time.monotonic() > deadline:
            sys.exit(f"groups_at_size: expected {pods} pods to run in {START_TIMEOUT_S} s, found {len(found)}")
        print(f"{len(found)} of {pods} pods run", file=sys.stderr)
        time.sleep(2)


@contextmanager
def timed(step: Step, cluster: Cluster) -> Iterator[None]:
    """Count the seconds and requests of what is done inside."""
    began, cpu, before = time.monotonic(), time.process_time(), cluster.calls
    try:
        yield
    finally:
        step.seconds, step.cpu_seconds = time.monotonic() - began, time.process_time() - cpu
        step.requests = cluster.calls - before


def report(steps: list[Step], groups: int) -> None:
    """One line a step."""
    print(f"{'step':<8}{'seconds':>9}{'CPU':>7}{'requests':>10}{'a group':>9}")
    for step in steps:
        took = f"{step.name:<8}{step.seconds:>9.2f}{step.cpu_seconds:>7.2f}"
        print(f"{took}{step.requests:>10}{step.requests / groups:>9.2f}  {step.note}")


if __name__ == "__main__":
    sys.exit(main())

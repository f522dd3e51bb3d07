"""Sweeps in pods, for tests of what a cluster and its people may do to them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self

from tests.kubernetes.places import Place
from tests.remote_sweeps import RemoteSweep, end, wait_until
from winnow.platforms.labels import GROUP, STUDY

__all__ = ["KubernetesSweep", "end", "wait_until"]

INDEX = "batch.kubernetes.io/job-completion-index"
KINDS = "jobs,pods,secrets,services"


@dataclass(frozen=True)
class KubernetesSweep(RemoteSweep):
    """`RemoteSweep` in a namespace."""

    place: Place = field(kw_only=True)

    @property
    def target(self) -> str:
        return "kubernetes"

    def write(self, **changes: Any) -> Self:
        """With requests that a small cluster has room for; what pods may use is more."""
        execution = changes.pop("execution", {})
        pods = {"requests": {"cpu": "100m", "memory": "256Mi"}, **execution.pop("kubernetes", {})}
        return super().write(execution={**execution, "kubernetes": pods}, **changes)

    def left(self) -> list[str]:
        return self.place.admin.names(KINDS, "--selector", f"{STUDY}={self.study}")

    def pods(self, group: str = "p0") -> dict[int, dict[str, Any]]:
        """A group's pods that run, by index."""
        selector = f"{STUDY}={self.study},{GROUP}={group}"
        found = self.place.admin.json("get", "pods", "--selector", selector)["items"]
        return {
            int(pod["metadata"]["labels"][INDEX]): pod
            for pod in found
            if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
        }

    def pod(self, group: str = "p0", index: int = 0) -> str:
        """The name of one that runs; it is waited for."""
        wait_until(lambda: index in self.pods(group))
        return str(self.pods(group)[index]["metadata"]["name"])

    def job(self, group: str = "p0") -> str:
        """Name of a group's Job."""
        (name,) = self.place.admin.names("jobs", "--selector", f"{STUDY}={self.study},{GROUP}={group}")
        return name

    def evict(self, pod: str) -> None:
        """As draining a node does it."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        path = f"/api/v1/namespaces/{self.place.namespace}/pods/{pod}/eviction"
        self.place.admin("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))

    def remove(self) -> None:
        """End what a failed test has left, and let go of the study."""
        self.close()
        self.place.admin("delete", KINDS, "--selector", f"{STUDY}={self.study}", "--force", "--grace-period=0")

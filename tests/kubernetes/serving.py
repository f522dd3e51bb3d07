"""One deployment on the cluster, and what a test does to it; its images get there as a user's do."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace

from tests.kubernetes.places import Place
from tests.kubernetes.pods import until
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.delivery import deliver
from winnow.platforms.images import ImageRoute
from winnow.platforms.kubernetes.revision_plan import CONTAINER, KINDS
from winnow.platforms.labels import DEPLOYMENT
from winnow.routing import Release

SERVING = {
    "host": "*.localhost",
    "resources": {"cpu_request": "50m", "memory_request": "128Mi"},
    "settle_s": 2,
}
"""The section `serving` with which many replicas fit on a small node, and leave it soon; the host leads here."""

_END = "import os, signal; os.kill(1, signal.SIGTERM); os.kill(1, signal.SIGINT)"


@dataclass(frozen=True)
class Site:
    """A deployment's name and place."""

    place: Place
    name: str

    def environment(self, **settings: str) -> dict[str, str]:
        """What its deployers and commands are run with."""
        ingress = {"WINNOW_INGRESS_URL": os.environ["WINNOW_INGRESS_URL"]}
        return {**self.place.environment, **ingress, **settings}

    def kill(self, pod: str) -> None:
        """End its server at once, as a crash would; the pod starts it again. Returns when the cluster has seen it."""
        before = self._restarts(pod)
        self.place.admin("exec", pod, "--container", CONTAINER, "--", "python", "-c", _END)
        until(lambda: self._restarts(pod) != before)

    def _restarts(self, pod: str) -> str:
        """What changes when the pod's server ends."""
        path = "{range .status.containerStatuses[*]}{.restartCount} {.state.terminated.finishedAt}{end}"
        return self.place.admin("get", "pod", pod, "--output", f"jsonpath={path}")

    def evict(self, pod: str) -> str:
        """Have a pod leave by the API that drains nodes; what it says where it refuses."""
        namespace = self.place.namespace
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        address = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
        try:
            self.place.admin("create", "--raw", address, "--filename", "-", given=json.dumps(body))
        except AssertionError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Leave nothing of it."""
        kinds = ",".join(kind.plural for kind in KINDS)
        chosen = f"--selector={DEPLOYMENT}={self.name}"
        self.place.admin("delete", f"{kinds},leases", chosen, "--wait=false")
        self.place.admin("delete", "pods", chosen, "--force", "--grace-period=0", "--wait=false")


def delivered(release: Release, place: Place) -> Release:
    """The release with its image where the cluster's nodes find it, by the way that the environment names."""
    route = ImageRoute.from_environment(place.environment, cluster="tests", home=place.home)
    return replace(release, image=deliver(connect(), release.image, f"winnow-test-{release.digest[:12]}", route))

"""From a gate to a served version and back again, where only commits change the cluster."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.champions import Winnow
from tests.docker.load import Load, running
from tests.kubernetes.places import Place
from tests.kubernetes.pods import until
from tests.kubernetes.serving import SERVING, Site
from tests.manifest_clones import Manifests, git, manifests_of
from winnow.bundle.manifest import EXAMPLE

pytestmark = pytest.mark.kubernetes

RATE_PER_S, MOST_REQUESTS = 50, 6000


@pytest.fixture
def manifests(tmp_path: Path, shared_place: Place) -> Iterator[Manifests]:
    winnow = Winnow(tmp_path / "home", Site(shared_place, "").environment(), {**SERVING, "autoscale": None})
    yield manifests_of(winnow, tmp_path, shared_place.namespace)
    winnow.forget()


def promote(to: Manifests, *options: str) -> None:
    chosen = ("--stage", "production", "--repo", str(to.clone), "--input", str(to.rows), "--rules", str(to.rules))
    done = to.winnow.run("gitops-promote", *chosen, *options)
    assert done.returncode == 0, done.stderr


class Applier:
    """What Argo CD does: it applies what the remote's branch has, from a clone of its own."""

    def __init__(self, manifests: Manifests, place: Place, folder: Path) -> None:
        git(folder, "clone", "--quiet", str(manifests.bare), "cluster")
        self._clone, self._admin = folder / "cluster", place.admin
        self._folder = (self._clone / manifests.overlay).parent
        self.deployment = f"deployment/{manifests.winnow.name}"

    def apply(self) -> None:
        git(self._clone, "pull", "--quiet")
        self._admin("apply", "--kustomize", str(self._folder))

    def wait(self) -> None:
        """Until all replicas are of what was applied, and ready."""
        self._admin("rollout", "status", self.deployment, "--timeout=90s")

    def replicas(self) -> tuple[int, int]:
        """How many are ready, and how many are not."""
        status = self._admin.json("get", self.deployment)["status"]
        return status.get("readyReplicas", 0), status.get("unavailableReplicas", 0)


def version_at(url: str, host: str) -> str:
    """The version that answers; empty before the entry knows the host."""
    asked = urllib.request.Request(f"{url}/model", headers={"Host": host})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return str(json.load(answer)["version"])
    except urllib.error.HTTPError:
        return ""


def test_a_candidate_that_never_becomes_ready_is_reverted_without_a_failed_request(
    manifests: Manifests, shared_place: Place, ingress_url: str, tmp_path: Path
) -> None:
    applier, host = Applier(manifests, shared_place, tmp_path), f"{manifests.winnow.name}.localhost"
    manifests.ask_for(0)
    promote(manifests, "--registry", shared_place.environment["WINNOW_REGISTRY"])
    applier.apply()
    applier.wait()
    until(lambda: version_at(ingress_url, host) == "1")

    manifests.ask_for(1)
    first = manifests.deployed()
    assert first is not None
    promote(manifests, "--image", first.image)  # of the other version: its server refuses to start
    body = (manifests.winnow.home / "bundle-0" / EXAMPLE).read_bytes()
    port = ingress_url.rpartition(":")[2]
    load = Load(f"http://{host}:{port}/predict", body, rate_per_s=RATE_PER_S, most=MOST_REQUESTS)
    with running(load) as outcome:
        applier.apply()
        until(lambda: applier.replicas() == (1, 1))
        time.sleep(5)
        assert applier.replicas() == (1, 1)  # the old one serves, and the new one still does not
        back = manifests.winnow.run("gitops-rollback", "--stage", "production", "--repo", str(manifests.clone))
        assert back.returncode == 0, back.stderr
        applier.apply()
        applier.wait()
        time.sleep(2)
    assert (outcome.failed, outcome.ok, dict(outcome.versions)) == (Counter(), outcome.sent, {"1": outcome.sent})
    assert outcome.sent > 10 * RATE_PER_S
    assert manifests.deployed() == first
    assert version_at(ingress_url, host) == "1"

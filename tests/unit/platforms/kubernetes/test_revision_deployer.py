"""What a deployer on a cluster does while the API does not answer, and after its manifests were edited."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from tests.unit.orchestrators.serving import revision
from tests.unit.platforms.kubernetes.api_server import FakeApi
from tests.unit.platforms.kubernetes.passing_time import Time
from winnow.config.clock import Clock
from winnow.config.errors import UnreachableError, WinnowError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.kubernetes.refusals import SILENT_S
from winnow.platforms.kubernetes.revision_plan import FOLDER, RECORD, labels_of, labels_of_revision, labels_of_routers
from winnow.rollout.step import revision_for
from winnow.routing import Observation, Record, Route, to_json

CORE = "/api/v1/namespaces/place"


def silent_until(time: Time, answers_at: float) -> Callable[[], str]:
    def step() -> str:
        if time.now_s < answers_at:
            raise UnreachableError("no answer")
        return "done"

    return step


def test_a_step_is_repeated_while_an_api_that_has_answered_before_is_away() -> None:
    time = Time()
    deployer = KubernetesDeployer(Path("home"), clock=time.clock())
    assert deployer.insist(silent_until(time, 0)) == "done"
    assert deployer.insist(silent_until(time, 60)) == "done"
    assert 60 <= time.now_s < 62
    with pytest.raises(UnreachableError):
        deployer.insist(silent_until(time, time.now_s + 2 * SILENT_S))


def test_an_api_that_has_never_answered_is_reported_at_once() -> None:
    time = Time()
    with pytest.raises(UnreachableError):
        KubernetesDeployer(Path("home"), clock=time.clock()).insist(silent_until(time, 60))
    assert time.now_s == 0


def test_edited_manifests_make_another_revision_of_the_same_model(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "prod"))
    served = structs.replace(revision("cells", 1), files=KubernetesDeployer(tmp_path, folder=folder).files)
    observed = Observation(Record("cells", revisions=(served,), route=Route(1, stable=1)))
    numbers = []
    for added in ("", "# a comment\n", "  minReadySeconds: 7\n"):
        file = folder / "deployment.yaml"
        file.write_text(file.read_text() + added)
        wanted = structs.replace(served, number=0, files=KubernetesDeployer(tmp_path, folder=folder).files)
        numbers.append(revision_for(observed, wanted).number)
    assert numbers == [1, 1, 2]


def test_a_cluster_that_creates_too_few_routers_is_said_to_have_done_so(api: FakeApi, cluster: Cluster) -> None:
    time = Time()
    clock = Clock(now=time.clock().now, sleep=lambda _seconds: time.clock().sleep(60))
    pair = (revision("cells", 1), revision("cells", 2))
    record = Record("cells", 2, pair, Route(2, stable=1, candidate=2, weight=0.1), router_replicas=2)
    before = Record("cells", 1, pair, Route(1, stable=1))
    entry = {"labels": labels_of("cells"), "annotations": {RECORD: to_json(before)}}
    api.put(f"{CORE}/services/winnow-prod-cells", {"metadata": {"name": "winnow-prod-cells", **entry}, "spec": {}})
    running = {"conditions": [{"type": "Ready", "status": "True"}]}
    for name, marks in (("replica", labels_of_revision("cells", 1)), ("router", labels_of_routers("cells", 2))):
        metadata = {"name": name, "labels": marks, "creationTimestamp": "2026-01-01T10:00:00Z"}
        api.put(f"{CORE}/pods/{name}", {"metadata": metadata, "status": running})
    with pytest.raises(WinnowError, match="'cells': the cluster has created 1 of 2 routers within 120 s"):
        KubernetesDeployer(Path("home"), cluster=cluster, clock=clock).route(record)
    assert not [path for path in api.objects if "router" in path and "/pods/" not in path]

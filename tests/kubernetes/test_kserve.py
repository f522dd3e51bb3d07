"""InferenceServices against KServe's CustomResourceDefinition on a real API server. No controller acts on them."""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.places import Kubectl, Place, place
from tests.kubernetes.pods import until
from tests.unit.platforms.kubernetes.test_kserve import FILES, RECORD, revision
from winnow.platforms.kubernetes import kserve_plan
from winnow.platforms.kubernetes.kinds import INFERENCE_SERVICE
from winnow.platforms.kubernetes.kserve import KserveDeployer
from winnow.routing import Record, ReplicaObserved

pytestmark = pytest.mark.kubernetes

CRDS = "WINNOW_TEST_CRDS"
"""Environment variable: a folder with the kind of KServe, as kserve.inferenceservices.yaml.xz."""


@pytest.fixture(scope="module")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    file = Path(os.environ.get(CRDS, "/nowhere")) / "kserve.inferenceservices.yaml.xz"
    if not file.is_file():
        pytest.skip(f"{CRDS} names no folder with KServe's kind")
    kind = lzma.decompress(file.read_bytes()).decode()
    Kubectl()("apply", "--server-side", "--force-conflicts", "--filename", "-", given=kind)
    until(lambda: "Established" in Kubectl()("get", "--filename", "-", "--output", "jsonpath={..status}", given=kind))
    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


def lacking(sent: Any, kept: Any, path: str = "spec") -> list[str]:
    """The fields that the cluster dropped or changed; it may add defaults."""
    if isinstance(sent, dict):
        return [
            each for name, value in sent.items() for each in lacking(value, (kept or {}).get(name), f"{path}.{name}")
        ]
    if isinstance(sent, list):
        return [each for index, value in enumerate(sent) for each in lacking(value, kept[index], f"{path}[{index}]")]
    return [] if sent == kept else [f"{path}: {sent!r} became {kept!r}"]


@pytest.mark.parametrize("version", ["0.20", "0.19"])
def test_the_cluster_takes_a_stable_revision_and_a_canary(somewhere: Place, version: str) -> None:
    is_list = kserve_plan.has_list(version)
    made = kserve_plan.inference_service(FILES, RECORD, {1: 2, 2: 1}, 4, is_list=is_list)
    strict = somewhere.admin(
        *("create", "--validate=strict", "--dry-run=server", "--output", "yaml", "--filename", "-"),
        given=yaml.safe_dump(made),
    )
    kept = yaml.safe_load(strict)["spec"]
    assert lacking(made["spec"], kept) == []


def test_a_deployer_writes_starts_and_removes_on_the_cluster(somewhere: Place, tmp_path: Path) -> None:
    """As far as it goes without KServe's controller: no pod ever comes."""
    deployer = KserveDeployer(tmp_path, cluster=somewhere.cluster(), environment={})
    deployer.check()
    record = Record("churn", 1, (revision(1),))
    deployer.check_change(record, 1)
    deployer.write(record)
    deployer.start(record, 1, None)
    assert deployer.names() == ("churn",)
    observed = deployer.observe("churn")
    coming = (ReplicaObserved("r1", 1, is_ready=False),)
    assert (observed.record, observed.replicas, observed.entry_serial) == (record, coming, None)
    deployer.wish("churn", "pause")
    assert deployer.observe("churn").wish == "pause"
    live = somewhere.cluster().get(INFERENCE_SERVICE, "churn")
    assert live is not None
    assert live["spec"]["predictor"]["containers"][0]["image"] == "r/churn@sha256:1"
    assert deployer.remove("churn") is True
    assert deployer.names() == ()

"""The InferenceService of a deployment, and what is refused before it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.unit.platforms.kubernetes.api_server import cluster_of, running
from winnow.config.errors import InputError
from winnow.config.serving import RolloutConfig
from winnow.platforms.kubernetes import kserve_plan
from winnow.platforms.kubernetes.deployer import INGRESS_URL
from winnow.platforms.kubernetes.kserve import KserveDeployer
from winnow.platforms.kubernetes.manifests import load
from winnow.platforms.kubernetes.revision_plan import FOLDER
from winnow.rollout.plan import steps_of, to_values
from winnow.routing import Entry, Record, Release, ReplicaObserved, ReplicaSettings, Revision, Rollout, Route, Scale

FILES = load(FOLDER)


def revision(number: int, **scale: int) -> Revision:
    release = Release("churn", str(number), f"{number}" * 64, Path("bundle"), f"r/churn@sha256:{number}")
    return Revision(number, release, ReplicaSettings(), Scale(**scale))


RECORD = Record("churn", 5, (revision(1), revision(2)), Route(4, 1, candidate=2, weight=0.25, is_gateway=True))


def test_the_stable_revision_is_the_predictor_and_the_candidate_a_canary() -> None:
    spec = kserve_plan.inference_service(FILES, RECORD, {1: 3, 2: 1}, 4)["spec"]
    [canary] = spec["canary"]
    assert (spec["predictor"]["name"], spec["predictor"]["minReplicas"]) == ("r1", 3)
    assert (canary["trafficPercent"], canary["predictor"]["name"]) == (25, "r2")
    [container] = canary["predictor"]["containers"]
    assert (container["name"], container["image"]) == ("kserve-container", "r/churn@sha256:2")
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_before_0_20_the_candidate_is_the_predictor_with_its_percent() -> None:
    made = kserve_plan.inference_service(FILES, RECORD, {1: 3, 2: 1}, 4, is_list=kserve_plan.has_list("v0.19.2"))
    assert "canary" not in made["spec"]
    assert made["spec"]["predictor"]["canaryTrafficPercent"] == 25
    assert made["spec"]["predictor"]["containers"][0]["image"] == "r/churn@sha256:2"
    assert made["metadata"]["annotations"][kserve_plan.MODE] == "Serverless"


def test_a_revision_that_starts_gets_no_request() -> None:
    record = replace(RECORD, route=Route(3, 1))
    [canary] = kserve_plan.inference_service(FILES, record, {1: 1, 2: 1}, 3)["spec"]["canary"]
    assert canary["trafficPercent"] == 0


def test_what_is_kept_in_annotations_is_read_again() -> None:
    made = kserve_plan.inference_service(FILES, RECORD, {2: 1, 1: 3}, 4)
    assert (kserve_plan.alive_in(made), kserve_plan.routed_in(made)) == ({1: 3, 2: 1}, 4)


def test_a_revision_is_seen_before_kserve_has_made_its_pod(tmp_path: Path) -> None:
    """As after a driver that was killed just when it had started one."""
    with running() as api:
        home, cluster = tmp_path / "home", cluster_of(api, tmp_path)
        deployer = KserveDeployer(home, cluster=cluster, environment={INGRESS_URL: api.url})
        record = Record("churn", 1, (revision(1),))
        deployer.write(record)
        before = deployer.observe("churn").replicas
        deployer.start(record, 1, None)
        assert (before, deployer.observe("churn").replicas) == ((), (ReplicaObserved("r1", 1, is_ready=False),))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (replace(RECORD, entry=Entry(port=80)), "serving.port"),
        (replace(RECORD, route=Route(4, 1, candidate=2, weight=0.005)), ""),
    ],
)
def test_what_kserve_does_not_have_is_refused(record: Record, expected: str) -> None:
    if expected:
        with pytest.raises(InputError, match=expected):
            kserve_plan.check(record)
    else:
        with pytest.raises(InputError, match="whole percents"):
            kserve_plan.inference_service(FILES, record, {1: 1, 2: 1}, 4)


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        (RolloutConfig(strategy="canary", initial_weight=0.005), "whole percents"),
        (RolloutConfig(strategy="shadow"), "serving.rollout.mirror"),
        (RolloutConfig(strategy="canary", unit="header:x-user"), "serving.rollout.unit"),
    ],
)
def test_a_rollout_that_kserve_cannot_make_is_refused(rollout: RolloutConfig, expected: str) -> None:
    record = replace(RECORD, rollout=Rollout(2, 1, rollout.strategy, to_values(steps_of(rollout, ()))))
    with pytest.raises(InputError, match=expected):
        kserve_plan.check(record)


def test_a_release_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="KSERVE_VERSION"):
        kserve_plan.has_list("latest")

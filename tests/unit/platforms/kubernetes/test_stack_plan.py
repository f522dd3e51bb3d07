"""The stack's manifests: as they lie in k8s/, with what is set put into them."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import yaml

from tests.unit.platforms.kubernetes.diffs import diff, kept
from winnow.config.errors import InputError
from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.manifests import load, to_yaml
from winnow.platforms.kubernetes.prune import check_labels
from winnow.platforms.kubernetes.stack_plan import (
    LABELS,
    WORKERS,
    ClusterStackPlan,
    Place,
    digest,
    plan_stack,
    secret_manifest,
)
from winnow.platforms.kubernetes.stack_settings import Chosen, choose

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "k8s" / "tracking"
EVERYTHING = {
    "MLFLOW_WORKERS": "4",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.com",
    "MLFLOW_CPUS": "2",
    "MLFLOW_MEMORY": "256m",
    "POSTGRES_IMAGE": "mirror.example.com/postgres:15",
    "POSTGRES_CPUS": "40m",
    "POSTGRES_VOLUME": "50Gi",
    "MINIO_IMAGE": "mirror.example.com/minio:1",
    "MINIO_MEMORY": "4Gi",
    "MINIO_VOLUME": "1Ti",
    "STORAGE_CLASS": "fast",
    "WORKER_EGRESS": "10.20.0.0/16, 2001:db8::/32",
    "TRACKING_OVERLAY": "kind: Deployment\n"
    "metadata: {name: winnow-mlflow}\n"
    "spec: {template: {spec: {imagePullSecrets: [{name: mine}]}}}\n",
}
OWN_STORES = {
    "MLFLOW_BACKEND_STORE_URI": "postgresql://me:hidden@db/mlflow",
    "WINNOW_STORAGE": "postgresql://me:hidden@db/winnow",
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://mine/mlflow",
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "hidden",
}


def chosen(given: dict[str, str]) -> Chosen:
    numbers = count(1)
    return choose(given, None, lambda: f"generated-{next(numbers)}")


def planned(**given: str) -> ClusterStackPlan:
    return plan_stack(FOLDER, chosen(given), "registry/winnow-tracking@sha256:1", Place("a", "ml"))


def the(plan: ClusterStackPlan, kind: str, name: str) -> Manifest:
    return next(each for each in plan.manifests if (each["kind"], each["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize(("name", "given"), [("stack-everything", EVERYTHING), ("stack-own-stores", OWN_STORES)])
def test_settings_change_these_lines(name: str, given: dict[str, str]) -> None:
    default, changed = planned(), planned(**given)
    left = {(each["kind"], each["metadata"]["name"]) for each in changed.manifests}
    before = [each for each in default.manifests if (each["kind"], each["metadata"]["name"]) in left]
    assert diff(to_yaml(before), changed.render()) == kept(f"{name}.diff")


def test_without_settings_the_files_are_applied_as_they_are_but_for_image_and_digest() -> None:
    plan = planned()
    text = to_yaml(load(FOLDER)).replace("winnow-tracking:latest", "registry/winnow-tracking@sha256:1")
    expected = list(yaml.safe_load_all(text))
    pods = next(each for each in expected if each["kind"] == "Deployment")["spec"]["template"]
    pods["metadata"]["annotations"] = {"winnow.settings": digest(chosen({}).secret)}
    assert list(plan.manifests) == [secret_manifest(chosen({}).secret), *expected]


def test_a_stack_is_recorded_without_a_secret() -> None:
    assert planned().record == ClusterStackRecord(
        context="a",
        namespace="ml",
        tracking_url="http://winnow-mlflow.ml.svc:5000",
        storage_url="postgresql+psycopg://winnow@winnow-postgres.ml.svc:5432/winnow",
    )
    own = planned(**OWN_STORES).record
    assert (own.storage_url, own.is_own_storage) == ("postgresql+psycopg://me:***@db/winnow", True)


def test_no_secret_is_in_any_other_manifest_or_on_paper() -> None:
    plan = planned(**OWN_STORES)
    for text in (str(plan.manifests[1:]), plan.render()):
        assert "hidden" not in text
        assert "generated-" not in text


@pytest.mark.parametrize(
    ("given", "services"),
    [
        ({}, ("postgres", "minio", "mlflow")),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "gs://mine"}, ("postgres", "mlflow")),
        ({"MLFLOW_BACKEND_STORE_URI": "mysql://me@db/m"}, ("postgres", "minio", "mlflow")),
        ({"MLFLOW_BACKEND_STORE_URI": "mysql://me@db/m", "WINNOW_STORAGE": "postgresql://db/w"}, ("minio", "mlflow")),
    ],
)
def test_what_is_elsewhere_is_not_made(given: dict[str, str], services: tuple[str, ...]) -> None:
    plan = planned(**given)
    assert plan.services == services
    assert {each["metadata"]["labels"]["winnow.role"] for each in plan.manifests[1:]} == {*services, WORKERS}


def test_what_workers_reach_beside_the_stack_is_set() -> None:
    def last_rules(**given: str) -> list[dict[str, object]]:
        (policy,) = (each for each in planned(**given).manifests if each["metadata"]["name"] == "winnow-workers")
        return list(policy["spec"]["egress"][4:])

    (public,) = last_rules()
    network = {"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]}
    assert last_rules(WORKER_EGRESS="none") == []
    assert last_rules(WORKER_EGRESS="10.20.0.0/16") == [network]
    assert last_rules(WORKER_EGRESS="public,10.20.0.0/16") == [public, network]
    assert last_rules(WORKER_EGRESS="none", WINNOW_STORAGE="postgresql://db:6543/w") == [{"ports": [{"port": 6543}]}]


@pytest.mark.parametrize("text", ["everything", "10.20.0.0", "10.20.0.1/16", "none,public", "10.0.0.0/8;public"])
def test_what_workers_reach_is_public_none_or_networks(text: str) -> None:
    with pytest.raises(InputError, match="WORKER_EGRESS"):
        planned(WORKER_EGRESS=text)


def test_all_parts_are_found_again_by_their_labels() -> None:
    check_labels(planned().manifests, LABELS)


def test_another_key_makes_new_pods_and_another_setting_alone_does_not() -> None:
    secret = chosen({}).secret
    assert digest({**secret, "settings": "{}"}) == digest(secret)
    assert digest({**secret, "AWS_SECRET_ACCESS_KEY": "another"}) != digest(secret)


def test_a_service_asks_for_no_more_than_it_may_use() -> None:
    plan = planned(MLFLOW_MEMORY="256Mi", POSTGRES_CPUS="0.01")
    mlflow = the(plan, "Deployment", "winnow-mlflow")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert mlflow == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
    postgres = the(plan, "StatefulSet", "winnow-postgres")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert postgres["requests"] == {"cpu": "0.01", "memory": "256Mi"}


@pytest.mark.parametrize(
    "overlay",
    [
        "kind: Deployment\nmetadata: {name: another}\n",
        "kind: Deployment\n",
        "- kind: Deployment\n",
        "kind: [Deployment\n",
    ],
)
def test_an_overlay_of_nothing_that_there_is_is_refused(overlay: str) -> None:
    with pytest.raises(InputError, match="TRACKING_OVERLAY"):
        planned(TRACKING_OVERLAY=overlay)


def test_files_that_two_tiers_need_hold_the_same_text() -> None:
    for file, key, source in (
        ("postgres/databases.yaml", "databases.sh", "images/postgres/databases.sh"),
        ("mlflow/bucket.yaml", "bucket.py", "src/winnow/platforms/bucket.py"),
    ):
        assert yaml.safe_load((FOLDER / file).read_text())["data"][key] == (ROOT / source).read_text()


@pytest.mark.parametrize("manifest", load(FOLDER), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_pods_are_restricted_and_ask_for_little(manifest: Manifest) -> None:
    if manifest["kind"] not in ("Deployment", "StatefulSet"):
        return
    pod = manifest["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert int(container["resources"]["requests"]["cpu"].removesuffix("m")) <= 100


def test_what_keeps_data_has_one_pod_and_the_server_may_have_more() -> None:
    overlay = "kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{replicas: 2}}\n"
    server = planned(TRACKING_OVERLAY=overlay.format(kind="Deployment", name="winnow-mlflow"))
    assert the(server, "Deployment", "winnow-mlflow")["spec"]["replicas"] == 2
    for name in ("winnow-postgres", "winnow-minio"):
        with pytest.raises(InputError, match=f"StatefulSet {name}: spec.replicas: expected 1"):
            planned(TRACKING_OVERLAY=overlay.format(kind="StatefulSet", name=name))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.unit.platforms.kubernetes.diffs import diff, kept
from winnow.config.errors import InputError
from winnow.config.experiment import Name
from winnow.platforms.kubernetes import release_plan as kubernetes_plan
from winnow.platforms.kubernetes.deployment_settings import DeploymentSettings, check_entry, settings_of
from winnow.platforms.kubernetes.kinds import Manifest, kind_of
from winnow.platforms.kubernetes.manifests import load
from winnow.platforms.kubernetes.release_plan import (
    FINGERPRINT,
    TEMPLATE,
    ClusterDeployment,
    Key,
    KubernetesPlan,
    address_of,
    key_of,
    object_name,
    url_of,
)
from winnow.platforms.labels import DEPLOYMENT
from winnow.platforms.release_deployer import Action, DeploymentRequest
from winnow.platforms.release_json import release_of
from winnow.routing import Release

FILES = load(Path(__file__).parents[4] / "k8s" / "prod")
IMAGE = "registry.example.com/winnow-prod-cells@sha256:"
FIRST = Release("cells", "1", "aa" * 32, Path("/models/aa"), f"{IMAGE}{'11' * 32}")
SECOND = Release("cells", "2", "bb" * 32, Path("/models/bb"), f"{IMAGE}{'22' * 32}")

NOTHING = ClusterDeployment()


def _plan(
    release: Release,
    found: ClusterDeployment = NOTHING,
    settings: DeploymentSettings | None = None,
    key: Key | None = None,
    **changes: Any,
) -> KubernetesPlan:
    chosen = settings if settings is not None else found.settings
    return kubernetes_plan.plan(DeploymentRequest("cells", release, **changes), found, chosen, key, FILES)


def _of(plan: KubernetesPlan, kind: str) -> Manifest:
    (found,) = (each for each in plan.manifests if each["kind"] == kind)
    return found


def _running(plan: KubernetesPlan, **changes: Any) -> ClusterDeployment:
    """What is found when a plan was carried out."""
    notes = _of(plan, "Deployment")["metadata"]["annotations"]
    found = ClusterDeployment(
        release=release_of(notes["winnow.release"]),
        previous=release_of(notes["winnow.previous"]) if "winnow.previous" in notes else None,
        serial=int(notes["winnow.serial"]),
        fingerprint=notes[FINGERPRINT],
        minimum=plan.replicas,
        count=plan.replicas,
        is_autoscaled=True,
        is_ready=True,
    )
    return replace(found, **changes)


def test_a_first_deployment_is_these_manifests() -> None:
    made = _plan(FIRST, replicas=3)
    assert (made.action, made.basis, made.replicas, made.scale_to) == (Action.START, 0, 3, 3)
    assert made.render() == kept("first.yaml")


def test_what_is_applied_by_hand_is_no_studys() -> None:
    (name,) = {each["metadata"]["labels"][DEPLOYMENT] for each in FILES}
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


def test_every_setting_has_its_field() -> None:
    settings = DeploymentSettings(
        cpus=2,
        memory_bytes=512 * 2**20,
        cpu_request=0.1,
        memory_request_bytes=2**30,
        settle_s=7.5,
        environment={"WINNOW_MAX_ROWS": "7", "WINNOW_DRAIN_S": "60"},
        most=9,
        cpu_target_percent=60,
        scale_down_after_s=30,
        ingress_class="nginx",
        host="cells.example.com",
        tls_secret="cells-tls",
    )
    made = _plan(SECOND, _running(_plan(FIRST)), settings, Key("winnow-prod-cells-key-2", "a secret"))
    assert (made.action, made.basis, made.scale_to) == (Action.REPLACE, 1, None)
    assert "a secret" not in made.render() + repr(made)
    assert diff(_plan(FIRST, replicas=3).render(), made.render()) == kept("every-setting.diff")


def test_the_same_again_changes_nothing_whatever_folder_it_comes_from() -> None:
    first = _plan(FIRST, replicas=2)
    again = _plan(replace(FIRST, bundle=Path("/elsewhere/aa")), _running(first))
    assert again.action is Action.NOTHING
    assert again.manifests == first.manifests
    assert again.render() == "# cells: cells version 1 is being served already; nothing to do.\n"


@pytest.mark.parametrize(
    "changes",
    [{"is_ready": False}, {"is_drifted": True}, {"fingerprint": "of other files"}, {"minimum": 1}, {"release": SECOND}],
)
def test_what_is_not_as_wanted_is_replaced(changes: dict[str, Any]) -> None:
    assert _plan(FIRST, _running(_plan(FIRST, replicas=2), **changes), replicas=2).action is Action.REPLACE


def test_only_another_template_makes_other_pods() -> None:
    first = _plan(FIRST)
    more = _plan(FIRST, _running(first), replicas=4)
    other_host = _plan(FIRST, _running(first), DeploymentSettings(host="other.example.com"))
    assert first.template == more.template == other_host.template
    assert _of(first, "Deployment")["spec"]["template"] == _of(more, "Deployment")["spec"]["template"]
    assert _of(first, "Deployment")["spec"]["template"]["metadata"]["labels"][TEMPLATE] == first.template
    others = (_plan(SECOND), _plan(FIRST, settings=DeploymentSettings(cpus=2)), _plan(FIRST, key=Key("k", "v")))
    assert len({first.template, *(each.template for each in others)}) == 4


def test_the_release_before_is_kept_for_a_rollback() -> None:
    second = _plan(SECOND, _running(_plan(FIRST)))
    assert _running(second).previous == FIRST
    assert _running(_plan(SECOND, _running(second), replicas=2)).previous == FIRST
    back = _plan(FIRST, _running(second))
    assert (_running(back).previous, _running(back).serial) == (SECOND, 3)


@pytest.mark.parametrize(
    ("count", "is_autoscaled", "asked", "scale_to"),
    [
        (1, True, 3, 3),  # at once, and not at the autoscaler's next look
        (2, True, None, None),
        (5, True, 2, None),  # it knows the load
        (5, False, 2, 2),  # nobody does, so a person's word counts
        (5, False, None, None),
    ],
)
def test_the_autoscaler_is_left_what_it_knows_better(
    count: int, is_autoscaled: bool, asked: int | None, scale_to: int | None
) -> None:
    found = _running(_plan(FIRST, replicas=2), count=count, is_autoscaled=is_autoscaled)
    assert _plan(FIRST, found, replicas=asked).scale_to == scale_to


def test_without_an_autoscaler_among_the_files_the_number_is_set() -> None:
    files = [each for each in FILES if each["kind"] != "HorizontalPodAutoscaler"]
    request = DeploymentRequest("cells", FIRST, 2)
    made = kubernetes_plan.plan(
        request, ClusterDeployment(count=5, minimum=5, serial=1), DeploymentSettings(), None, files
    )
    assert made.scale_to == 2
    assert all("replicas" not in each["spec"] for each in made.manifests)


def test_a_persons_own_fields_and_objects_are_kept() -> None:
    deployment = next(each for each in FILES if each["kind"] == "Deployment")
    deployment = {**deployment, "spec": {**deployment["spec"]}}
    deployment["spec"]["template"] = {**deployment["spec"]["template"]}
    pod = {**deployment["spec"]["template"]["spec"], "nodeSelector": {"disk": "ssd"}}
    deployment["spec"]["template"]["spec"] = pod
    extra = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "winnow-prod-notes"}, "data": {"a": "b"}}
    made = kubernetes_plan.plan(
        DeploymentRequest("cells", FIRST), ClusterDeployment(), DeploymentSettings(), None, [deployment, extra]
    )
    assert _of(made, "Deployment")["spec"]["template"]["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert _of(made, "ConfigMap")["metadata"]["name"] == "winnow-prod-cells-notes"
    assert {kind_of(each).kind for each in made.manifests} == {"Deployment", "ConfigMap"}


def test_names_of_any_length_fit_and_differ() -> None:
    assert object_name("cells") == "winnow-prod-cells"
    long = [object_name(f"{'a' * 61}{letter}") for letter in "xy"]
    assert [len(each) <= 63 for each in long] == [True, True]
    assert len(set(long)) == 2


def test_a_setting_that_is_not_named_stays_and_an_empty_one_goes() -> None:
    request = DeploymentRequest("cells", FIRST)
    told = {
        "WINNOW_REPLICA_CPUS": "500m",
        "WINNOW_REPLICA_MEMORY": "512Mi",
        "WINNOW_MAX_REPLICAS": "9",
        "WINNOW_MAX_ROWS": "7",
        "WINNOW_INGRESS_HOST": "*.models.example.com",
    }
    changed = settings_of(told, DeploymentSettings(), request)
    assert changed == DeploymentSettings(
        cpus=0.5, memory_bytes=2**29, most=9, environment={"WINNOW_MAX_ROWS": "7"}, host="cells.models.example.com"
    )
    assert settings_of({}, changed, request) == changed
    assert settings_of(dict.fromkeys(told, ""), changed, request) == DeploymentSettings()
    named = settings_of(told, changed, replace(request, host="own.example.com"))
    assert named.host == "own.example.com"
    with pytest.raises(InputError, match=r"HOST: expected the host name of an Ingress.*0\.0\.0\.0"):
        settings_of({}, changed, replace(request, host="0.0.0.0"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("WINNOW_REPLICA_CPUS", "many"),
        ("WINNOW_REPLICA_CPU_REQUEST", "0"),
        ("WINNOW_REPLICA_MEMORY", "1"),
        ("WINNOW_REPLICA_MEMORY_REQUEST", "lots"),
        ("WINNOW_SETTLE_S", "-1"),
        ("WINNOW_DRAIN_S", "long"),
        ("WINNOW_MAX_ROWS", "many"),
        ("WINNOW_MAX_ROWS", "0"),
        ("WINNOW_MAX_BODY_BYTES", "32Mi"),
        ("WINNOW_MAX_BODY_BYTES", "inf"),
        ("WINNOW_MAX_CONNECTIONS", "0"),
        ("WINNOW_HEADER_TIMEOUT_S", "soon"),
        ("WINNOW_MAX_REPLICAS", "0"),
        ("WINNOW_REPLICA_CPU_TARGET", "80%"),
        ("WINNOW_SCALE_DOWN_AFTER_S", "soon"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: expected .*, found '{text}'"):
        settings_of({name: text}, DeploymentSettings(), DeploymentRequest("cells", FIRST))


def test_fewer_at_most_than_at_least_is_refused() -> None:
    with pytest.raises(InputError, match="WINNOW_MAX_REPLICAS: expected at least 3"):
        _plan(FIRST, settings=DeploymentSettings(most=2), replicas=3)


def test_another_key_gets_another_secret_and_the_same_one_stays() -> None:
    current = Key("winnow-prod-cells-key-1", "one")
    assert key_of({}, current, "cells", 2, None) == current
    assert key_of({"WINNOW_API_KEY": "one"}, current, "cells", 2, None) == current
    assert key_of({"WINNOW_API_KEY": "two"}, current, "cells", 2, None) == Key("winnow-prod-cells-key-2", "two")
    assert key_of({"WINNOW_API_KEY": "two"}, current, "cells", 2, " one\n") == current
    assert key_of({"WINNOW_API_KEY": ""}, current, "cells", 2, None) is None
    assert "one" not in repr(current)


HOST = {"spec": {"rules": [{"host": "cells.example.com"}]}}
TLS = {"spec": {"rules": [{"host": "cells.example.com"}], "tls": [{"secretName": "x"}]}}
ADDRESS = {"spec": {"rules": [{}]}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}


def test_an_ingress_says_where_it_is_reached_once_a_controller_has_taken_it() -> None:
    assert [address_of(each) for each in (None, HOST, {"status": {"loadBalancer": {}}}, ADDRESS)] == [
        *("", "", ""),
        "192.0.2.7",
    ]


@pytest.mark.parametrize(
    ("ingress", "entry", "url"),
    [
        (None, "", "http://winnow-prod-cells.models.svc"),
        ({"spec": {"rules": [{}]}}, "", "http://winnow-prod-cells.models.svc"),
        (ADDRESS, "", "http://192.0.2.7"),
        (HOST, "", "http://cells.example.com"),
        (TLS, "", "https://cells.example.com"),
        (ADDRESS, "http://localhost:8080/", "http://localhost:8080"),
        (HOST, "http://localhost:8080", "http://cells.example.com:8080"),
        (TLS, "https://localhost", "https://cells.example.com"),
    ],
)
def test_the_address_is_the_ingresss_unless_this_terminal_goes_another_way(
    ingress: Manifest | None, entry: str, url: str
) -> None:
    assert url_of("cells", "models", ingress, entry) == url


def test_an_entry_point_that_is_no_url_is_refused() -> None:
    assert check_entry("") == ""
    with pytest.raises(InputError, match="WINNOW_INGRESS_URL"):
        check_entry("localhost:8080")


def test_a_kind_that_would_be_neither_restored_nor_removed_is_refused() -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "winnow-prod-cache"}, "spec": {}}
    with pytest.raises(InputError, match=r"PersistentVolumeClaim 'winnow-prod-cache': expected .*ConfigMap"):
        kubernetes_plan.plan(
            DeploymentRequest("cells", FIRST), ClusterDeployment(), DeploymentSettings(), None, [*FILES, claim]
        )

"""Least privilege: the Role is enough, and what is missing is named before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.places import ROOT, Place, environment, kubeconfig_of, least_privileged
from tests.winnow_command import winnow
from winnow.config.errors import InputError
from winnow.platforms.kubernetes.kinds import SECRET
from winnow.platforms.kubernetes.permissions import Permission, check
from winnow.platforms.kubernetes.role import USED

pytestmark = pytest.mark.kubernetes

ROLE = ROOT / "k8s" / "role.yaml"


def somebody(place: Place, name: str, role: Path, folder: Path) -> Mapping[str, str]:
    """The environment of another person in the same namespace."""
    file = kubeconfig_of(place.admin, least_privileged(place.admin, name, role), folder / "kubeconfig")
    return environment(file, place.namespace, folder / "home")


@pytest.fixture
def newcomer(shared_place: Place, tmp_path: Path) -> Mapping[str, str]:
    """Somebody who may read Secrets, and nothing else."""
    role = yaml.safe_load(ROLE.read_text())
    role["metadata"]["name"] = "reader"
    role["rules"] = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}]
    (tmp_path / "role.yaml").write_text(yaml.safe_dump(role))
    return somebody(shared_place, "newcomer", tmp_path / "role.yaml", tmp_path)


@pytest.mark.parametrize("part", list(USED))
def test_the_role_is_enough_for_every_part(shared_place: Place, part: str) -> None:
    check(shared_place.cluster(), USED[part], part)


def test_the_role_is_not_more_than_it_says(shared_place: Place) -> None:
    asked = {
        "create pods": False,
        "create pods/exec": False,
        "create rolebindings": False,
        "create serviceaccounts/token": False,
        "update deployments": False,
        "list nodes": False,
        "get secrets": True,
        "create jobs": True,
    }
    listed = shared_place.admin("auth", "can-i", "--list", "--as", _name(shared_place))
    granted = {
        f"{verb} {line.split()[0].partition('.')[0]}"
        for line in listed.splitlines()[1:]
        for verb in line.rpartition("[")[2].rstrip("]").split()
    }
    assert {each: each in granted for each in asked} == asked


def test_another_namespace_is_out_of_reach(shared_place: Place) -> None:
    elsewhere = {**shared_place.environment, "WINNOW_NAMESPACE": "default"}
    said = winnow("mlflow-init", "--platform", "kubernetes", env=elsewhere, timeout=120)
    assert said.returncode == 2, said.stderr
    assert "namespace 'default'" in said.stderr
    assert "create secrets" in said.stderr


def test_missing_verbs_are_named_one_by_one_before_anything_is_made(
    shared_place: Place, newcomer: Mapping[str, str]
) -> None:
    before = shared_place.admin.names("all,secrets,configmaps,persistentvolumeclaims,networkpolicies")
    said = winnow("mlflow-init", "--platform", "kubernetes", env=newcomer, timeout=120)
    assert said.returncode == 2, said.stderr
    for verb in ("create secrets", "patch deployments.apps", "create statefulsets.apps", "get pods/portforward"):
        assert verb in said.stderr
    assert "get secrets," not in said.stderr
    assert "kubectl apply -f k8s/role.yaml" in said.stderr
    assert shared_place.admin.names("all,secrets,configmaps,persistentvolumeclaims,networkpolicies") == before


def test_a_part_that_is_missing_one_verb_names_that_one(shared_place: Place, tmp_path: Path) -> None:
    role = yaml.safe_load(ROLE.read_text())
    role["metadata"]["name"] = "almost"
    for rule in role["rules"]:
        if "secrets" in rule["resources"]:
            rule["resources"].remove("secrets")
    role["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "delete", "get", "list"]})
    (tmp_path / "role.yaml").write_text(yaml.safe_dump(role))
    almost = Place(
        shared_place.namespace, shared_place.admin, somebody(shared_place, "almost", tmp_path / "role.yaml", tmp_path)
    )
    lacking = {part: permissions for part, permissions in USED.items() if Permission("patch", SECRET) in permissions}
    assert len(lacking) >= 3
    for part, permissions in lacking.items():
        with pytest.raises(InputError, match=r"found none to patch secrets\. "):
            check(almost.cluster(), permissions, part)
    assert almost.cluster().is_allowed("get", SECRET)


def _name(place: Place) -> str:
    return f"system:serviceaccount:{place.namespace}:winnow-user"

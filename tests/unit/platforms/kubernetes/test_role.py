"""The Role that is shipped, held against what the parts declare."""

from __future__ import annotations

from pathlib import Path

import yaml

from winnow.platforms.kubernetes.role import USED, role, role_file

ROOT = Path(__file__).parents[4]
ROLE = ROOT / "k8s" / "role.yaml"


def test_the_role_is_what_the_parts_use() -> None:
    shipped = ROLE.read_text()
    assert shipped == role_file()
    assert yaml.safe_load(shipped) == role({each for part in USED.values() for each in part})


def test_the_role_reaches_no_further_than_it_says() -> None:
    rules = yaml.safe_load(ROLE.read_text())["rules"]
    assert yaml.safe_load(ROLE.read_text())["kind"] == "Role"
    assert not any("*" in rule[key] for rule in rules for key in ("apiGroups", "resources", "verbs"))
    assert {verb for rule in rules for verb in rule["verbs"]} <= {
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "watch",
    }
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert not resources & {"pods/exec", "roles", "rolebindings", "serviceaccounts/token", "namespaces", "nodes"}

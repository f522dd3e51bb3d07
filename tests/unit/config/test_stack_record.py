"""Which stack is in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from winnow.config.stack_record import AnyStack, ClusterStackRecord, StackRecord, forget_stack, keep_stack, read_stack
from winnow.platforms.docker import stack_owner as docker_owner
from winnow.platforms.docker.stack_plan import Project
from winnow.platforms.kubernetes import stack_owner as cluster_owner

ON_DOCKER = StackRecord("mine", "mine_inside", "compose.yaml", ".env", "http://127.0.0.1:5500", "http://mlflow:5000")
ON_CLUSTER = ClusterStackRecord("a-cluster", "ml", "http://winnow-mlflow.ml.svc:5000", "postgresql://winnow@db/winnow")


@pytest.mark.parametrize("record", [ON_DOCKER, ON_CLUSTER], ids=lambda each: each.platform)
def test_a_stack_that_is_removed_is_forgotten_and_another_is_not(tmp_path: Path, record: AnyStack) -> None:
    keep_stack(tmp_path, record)
    forget_stack(tmp_path, lambda used: used != record)
    assert read_stack(tmp_path) == record
    for _again in range(2):
        forget_stack(tmp_path, lambda used: used == record)
        assert read_stack(tmp_path) is None


def test_the_stack_that_was_started_last_is_in_use(tmp_path: Path) -> None:
    keep_stack(tmp_path / "home", ON_DOCKER)
    keep_stack(tmp_path / "home", replace(ON_CLUSTER, is_own_storage=True))
    assert read_stack(tmp_path / "home") == replace(ON_CLUSTER, is_own_storage=True)


def test_an_unreadable_record_is_forgotten_with_any(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{")
    forget_stack(tmp_path, lambda _used: False)
    assert read_stack(tmp_path) is None


def test_a_project_s_stack_is_known_by_its_name() -> None:
    project = Project("mine", Path("compose.yaml"), Path(".env"))
    assert docker_owner.is_of(ON_DOCKER, project)
    assert not docker_owner.is_of(replace(ON_DOCKER, project="another"), project)
    assert not docker_owner.is_of(ON_CLUSTER, project)


def test_a_namespace_s_stack_is_known_by_its_cluster_s_identity_too() -> None:
    one = replace(ON_CLUSTER, identity="one")
    assert cluster_owner.is_of(one, "a-cluster", "ml", "one")
    # An older version noted none.
    assert cluster_owner.is_of(ON_CLUSTER, "a-cluster", "ml", "one")
    for record, place in (
        (one, ("a-cluster", "ml", "another")),
        (one, ("another-cluster", "ml", "one")),
        (one, ("a-cluster", "another", "one")),
        (ON_DOCKER, ("a-cluster", "ml", "one")),
        (None, ("a-cluster", "ml", "one")),
    ):
        assert not cluster_owner.is_of(record, *place)

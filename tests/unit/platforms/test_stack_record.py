"""Which stack is in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from winnow.platforms.stack_record import ClusterStackRecord, StackRecord, forget, forget_cluster, keep, read_stack

ON_DOCKER = StackRecord("mine", "mine_inside", "compose.yaml", ".env", "http://127.0.0.1:5500", "http://mlflow:5000")
ON_CLUSTER = ClusterStackRecord("a-cluster", "ml", "http://winnow-mlflow.ml.svc:5000", "postgresql://winnow@db/winnow")


def test_a_stack_that_is_removed_is_forgotten_and_another_is_not(tmp_path: Path) -> None:
    keep(tmp_path, ON_DOCKER)
    forget(tmp_path, "another")
    forget_cluster(tmp_path, "a-cluster", "ml")
    assert read_stack(tmp_path) == ON_DOCKER
    forget(tmp_path, "mine")
    assert read_stack(tmp_path) is None

    keep(tmp_path, ON_CLUSTER)
    forget(tmp_path, "mine")
    forget_cluster(tmp_path, "another-cluster", "ml")
    forget_cluster(tmp_path, "a-cluster", "another")
    assert read_stack(tmp_path) == ON_CLUSTER
    forget_cluster(tmp_path, "a-cluster", "ml")
    assert read_stack(tmp_path) is None
    forget_cluster(tmp_path, "a-cluster", "ml")


def test_the_stack_that_was_started_last_is_in_use(tmp_path: Path) -> None:
    keep(tmp_path / "home", ON_DOCKER)
    keep(tmp_path / "home", replace(ON_CLUSTER, is_own_storage=True))
    assert read_stack(tmp_path / "home") == replace(ON_CLUSTER, is_own_storage=True)


def test_a_record_that_nobody_can_read_is_forgotten_with_any(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{")
    forget_cluster(tmp_path, "a-cluster", "ml")
    assert read_stack(tmp_path) is None


def test_a_stack_on_another_cluster_of_that_name_is_not_forgotten(tmp_path: Path) -> None:
    keep(tmp_path, replace(ON_CLUSTER, identity="one"))
    forget_cluster(tmp_path, "a-cluster", "ml", "another")
    assert read_stack(tmp_path) is not None
    forget_cluster(tmp_path, "a-cluster", "ml", "one")
    assert read_stack(tmp_path) is None

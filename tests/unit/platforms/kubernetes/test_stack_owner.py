"""Whose a stack on a cluster is, decided from what its Secret and this home say."""

from __future__ import annotations

from pathlib import Path

from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms.kubernetes.stack_owner import home_here, other_home, refusal_to_end

USED = ClusterStackRecord("lab", "team", "http://winnow-mlflow.team:5000", "postgresql://x")


def test_a_stack_on_a_cluster_belongs_to_the_home_that_made_it(tmp_path: Path) -> None:
    assert other_home(home_here(tmp_path), tmp_path, None, "lab", "team") == ""
    assert other_home(None, tmp_path, None, "lab", "team") == ""
    # Using it does not make it one's own.
    assert other_home("ada@laptop:/home/ada/.winnow", tmp_path, USED, "lab", "team") == "ada@laptop:/home/ada/.winnow"
    refusal = str(refusal_to_end("team", "ada@laptop:/home/ada/.winnow"))
    assert "found one of ada@laptop:/home/ada/.winnow. " in refusal and "FORCE=1" in refusal
    assert refusal_to_end("team", "") is None


def test_a_home_that_was_moved_keeps_its_stack_on_a_cluster(tmp_path: Path) -> None:
    before = home_here(tmp_path / "before")
    assert other_home(before, tmp_path / "after", USED, "lab", "team") == ""
    assert other_home(before, tmp_path / "after", None, "lab", "team") == before


def test_a_stack_on_a_cluster_that_names_no_owner_is_that_of_a_home_that_uses_it(tmp_path: Path) -> None:
    assert other_home("", tmp_path, USED, "lab", "team") == ""
    for namespace, record in (("team", None), ("other", USED)):
        found = other_home("", tmp_path, record, "lab", namespace)
        assert found == "someone that it does not name, and this home does not use it"

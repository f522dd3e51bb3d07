from __future__ import annotations

from pathlib import Path

import pytest

from winnow.tracking.moved import correct_locations, roots_before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Artifacts of the study `cells`, as they are after the move."""
    (tmp_path / "artifacts" / "cells").mkdir(parents=True)
    return tmp_path / "artifacts"


@pytest.mark.parametrize(
    ("location", "before"),
    [
        ("file:///old/my%20home/artifacts/cells", ["file:///old/my%20home/artifacts"]),
        ("file:///old/artifacts/another", []),  # not where winnow keeps this study's
        ("file:///srv/runs/cells", []),
        ("s3://bucket/artifacts/cells", []),
        ("mlflow-artifacts:/1", []),
        ("/old/mlruns/0", []),
    ],
)
def test_only_locations_of_winnow_s_own_form_are_from_before_a_move(
    location: str, before: list[str], root: Path
) -> None:
    assert roots_before([("cells", location)], root) == before


def test_locations_stay_where_the_files_are_not_here(tmp_path: Path) -> None:
    assert roots_before([("cells", "file:///old/artifacts/cells")], tmp_path / "artifacts") == []


def test_a_home_reached_by_another_name_was_not_moved(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root.parent)
    assert roots_before([("cells", (tmp_path / "link" / "artifacts" / "cells").as_uri())], root) == []


def test_a_file_that_is_no_store_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"other")
    correct_locations(tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == b"other"

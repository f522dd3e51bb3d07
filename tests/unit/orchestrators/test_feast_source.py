"""Sources of Feast are checked before Feast starts, and nothing is written before the rows are joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.orchestrators.feast_source import resolve_feast

SEARCH = {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}}
ROWS = "driver,event_timestamp,late\n1,2026-11-01T08:00:00Z,yes\n2,2026-11-01T09:00:00+02:00,no\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_TOOLS", str(tmp_path / "tools"))
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "feature_store.yaml").write_text("project: trips\n")
    (tmp_path / "rows.csv").write_text(ROWS)
    return tmp_path


def refused(folder: Path, **data: Any) -> str:
    given = {"source": "feast:features#trips", "entities": "rows.csv", "target": "late", **data}
    experiment = Experiment.model_validate({"name": "late", "data": given, "search": SEARCH})
    with pytest.raises(InputError) as error:
        resolve_feast(experiment, Settings.from_environment({"WINNOW_HOME": str(folder / "home")}))
    assert not (folder / "home").exists()
    return str(error.value)


def test_a_source_names_a_repository_and_a_service(folder: Path) -> None:
    form = "Name the folder of the feature repository, and one of its feature services."
    assert refused(folder, source="feast:features") == (
        f"data.source: expected `feast:REPOSITORY#SERVICE`, found 'feast:features'. {form}"
    )
    assert refused(folder, source="feast:feature#trips") == (
        f"data.source: expected a feature repository at {folder}/feature, found no such folder. "
        "Correct the path, which starts at the working directory."
    )
    (folder / "empty").mkdir()
    assert "found no feature_store.yaml in it" in refused(folder, source="feast:empty#trips")


def test_entities_are_rows_with_a_time_and_the_target(folder: Path) -> None:
    assert refused(folder, entities=None) == (
        "data.entities: expected a file with entity keys, `event_timestamp` and the target, found none. "
        "Name it: `data: {entities: FILE}`."
    )
    assert refused(folder, entities="row.csv").startswith(
        f"data.entities: expected a file that can be read at {folder}/row.csv, found no such file."
    )
    (folder / "timeless.csv").write_text("driver,at,late\n1,2026-11-01,yes\n")
    assert refused(folder, entities="timeless.csv") == (
        "data.entities: expected a column 'event_timestamp' in timeless.csv, found columns driver, at, late. Add it."
    )
    assert "found columns driver, event_timestamp, late. Add it, or correct `data.target`." in refused(
        folder, target="lat"
    )
    (folder / "wrong.csv").write_text(ROWS + "3,soon,no\n")
    assert "data.entities: expected numbers, or dates in ISO 8601" in refused(folder, entities="wrong.csv")


def test_without_feast_its_installation_is_named(folder: Path) -> None:
    assert refused(folder) == (
        f"data.source: expected feast in an environment of its own at {folder}/tools/feast, found none. "
        "Install it: `winnow install-tool --tool feast`."
    )

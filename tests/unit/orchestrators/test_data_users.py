"""Versions of data stay while a study or a registered model was made with them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.orchestrators.test_prepare import ROWS, SCHEMA, shop
from tests.unit.study.studies import experiment, sweep, url
from tests.unit.tracking import made_up
from winnow.cli import winnow
from winnow.data.stage.versions import Prepared, current_version, prepared_folder, raw_folder
from winnow.orchestrators.data_users import users_of
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.tracking.mlflow_tracker import MlflowTracker

A, B, C = "0acf482b8e54", "1bcf482b8e54", "2ccf482b8e54"


def make_study(home: Path, name: str, source: str, **lineage: str) -> None:
    given = experiment()
    data = given.data.model_copy(update={"source": source})
    tags = {f"winnow.data.{key}": value for key, value in lineage.items()}
    StudyStore(Database(url(home), create=True), name).create(
        given.model_copy(update={"name": name, "data": data}), sweep(study=name, lineage=tags)
    )


def test_a_study_uses_the_version_that_its_source_is_in_or_its_lineage_names(tmp_path: Path) -> None:
    folders = [tmp_path / "data" / "shop" / "prepared" / version for version in (A, B, C)]
    assert users_of(folders, "shop", tmp_path, {}) == {}
    make_study(tmp_path, "shop", f"{folders[0]}/part-00000.parquet")
    make_study(tmp_path, "shop-2", "rows.csv", version=C)
    assert users_of(folders, "shop", tmp_path, {}) == {
        A: "study shop was made with it",
        C: "study shop-2 was made with it",
    }
    joined = [tmp_path / "data" / "shop" / "feast" / f"{version}.parquet" for version in (B, C)]
    assert users_of(joined, "shop", tmp_path, {}) == {C: "study shop-2 was made with it"}


def test_a_registered_version_uses_its_data_after_its_study_is_gone(tmp_path: Path) -> None:
    uri = made_up.new_store(tmp_path)
    record = dataclasses.replace(made_up.sweep(), lineage={"winnow.data.version": B})
    tracker, trial = MlflowTracker(uri), made_up.trial(0)
    tracker.log_bundle(record, tracker.start_sweep(record), trial, made_up.bundle(tmp_path / "bundle", trial))
    folders = [tmp_path / version for version in (A, B)]
    found = users_of(folders, made_up.STUDY, tmp_path, {"MLFLOW_TRACKING_URI": uri})
    assert found == {B: f"{made_up.STUDY} version 1 (1.0.0) was trained on it"}


def test_versions_stay_where_a_store_cannot_say_what_uses_them(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_bytes(b"no database" * 100)
    found = users_of([tmp_path / A], "shop", tmp_path, {})
    assert found.keys() == {A} and "it is not known whether it is in use" in found[A]


def test_preparing_and_ingesting_keep_versions_that_studies_use_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    (tmp_path / "rows").mkdir()
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    content = shop(sql="SELECT * FROM raw").model_dump(mode="json", by_alias=True, exclude_unset=True)
    (tmp_path / "shop.yaml").write_text(json.dumps(content))
    versions, said = list[Path](), list[str]()
    for number in range(5, 10):
        (tmp_path / "rows" / "a.csv").write_text(f"{ROWS}{number},9,2024\n")
        for verb in ("ingest", "prepare"):
            done = CliRunner().invoke(winnow, [verb, "--config", "shop.yaml"], env={"WINNOW_HOME": str(home)})
            assert done.exit_code == 0, done.output
            said += [line for line in done.output.splitlines() if "stays" in line]
        found = current_version(prepared_folder(home, "shop"), Prepared)
        assert found is not None
        versions.append(found[0])
        if number == 5:
            make_study(home, "shop", f"{found[0]}/part-00000.parquet", version=found[0].name)
            raw = next(path for path in raw_folder(home, "shop").iterdir() if path.is_dir())
            make_study(home, "direct", str(raw))
    kept = {path for path in prepared_folder(home, "shop").iterdir() if path.is_dir()}
    assert kept == {versions[0], *versions[2:]}
    assert said == [
        line
        for _ in range(2)
        for line in (
            f"older version {raw.name} stays: study direct was made with it",
            f"older version {versions[0].name} stays: study shop was made with it",
        )
    ]

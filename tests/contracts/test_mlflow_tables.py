"""What winnow writes to MLflow's tables, beside what MLflow's client writes for the same trials."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.unit.tracking.made_up import START_MS, fold, new_store, sweep, trial
from winnow.tracking.mlflow_tables import is_known
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.records import SweepRecord
from winnow.tracking.run_search import MlflowRunSearch
from winnow.tracking.tracker import Sent, TrackingUnavailableError

TRIALS = (
    trial(0, curves={0: {"train_loss": ((1, 0.5), (2, 0.25)), "val_f1": ((2, 0.9),)}}),
    trial(1, (0.5, 0.6), "pruned", reason="2 folds: its mean is below the median", curves={2: {"val_f1": ((1, 0.1),)}}),
    trial(2, (), "failed", reason="fold 1: ValueError: no such layer"),
    trial(3, (0.7,), "running", value=None, code="c0de"),
    trial(4, holdout={"f1": 0.95}, holdout_at_ms=START_MS + 20_000),
    trial(5, params={}),
    trial(6, folds=(fold(0, 0.9), fold(1, 0.9), fold(2, 0.9, metrics={"f1": float("nan"), "epochs": 30.0}))),
)
IDS = re.compile("[0-9a-f]{32}")


def rows(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but the experiments, where a run's id is its name and every other id is "an id"."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        names = dict(connection.execute("SELECT run_uuid, name FROM runs"))
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}

    def named(value: Any) -> Any:
        return IDS.sub(lambda run: names.get(run[0], "an id"), value) if isinstance(value, str) else value

    return {
        table: sorted((tuple(map(named, row)) for row in of), key=repr)
        for table, of in found.items()
        if table != "experiments"
    }


def as_offered(run_ids: Mapping[int, str]) -> Mapping[int, str]:
    return run_ids


def active_runs(uri: str, record: SweepRecord) -> list[str]:
    """Names of the trials' runs that are not deleted."""
    return sorted(run.name for run in MlflowRunSearch(uri).trials(record.study, [], []))


def finals(sent: Mapping[int, Sent]) -> dict[int, Sent]:
    return {number: replace(each, run_id=None) for number, each in sent.items()}


def test_runs_that_are_made_together_are_those_that_the_client_makes(tmp_path: Path) -> None:
    uris, record = [new_store(tmp_path) for _ in range(2)], sweep()
    by_client, together = (MlflowTracker(uri, artifact_root=(tmp_path / "files").as_uri()) for uri in uris)
    parent = by_client.start_sweep(record)
    one_by_one = {each.number: by_client.sync_trial(record, parent, each, Sent()) for each in TRIALS}
    parent = together.start_sweep(record)
    at_once = together.add_trials(record, parent, TRIALS, as_offered)
    assert rows(uris[1]) == rows(uris[0])
    assert finals(at_once) == finals(one_by_one)
    refitted = trial(0, holdout={"f1": 0.95}, holdout_at_ms=START_MS + 20_000)
    by_client.sync_trial(record, parent, refitted, one_by_one[0])
    together.sync_trial(record, parent, refitted, at_once[0])
    assert rows(uris[1]) == rows(uris[0])


def test_only_new_trials_whose_run_is_kept_are_made_together(tmp_path: Path) -> None:
    uri, record = new_store(tmp_path), sweep()
    tracker = MlflowTracker(uri)
    parent = tracker.start_sweep(record)
    tracker.sync_trial(record, parent, trial(0), Sent())
    trials = (
        trial(0),
        trial(1),
        trial(2),
        trial(3, run_id="0" * 32),
        trial(4, attempts=2),
        trial(5, (), "waiting"),
    )
    assert tracker.add_trials(record, parent, trials, lambda offered: {**offered, 1: "1" * 32}).keys() == {2}
    assert tracker.add_trials(record, parent, trials[2:3], as_offered) == {}
    assert active_runs(uri, record) == ["trial 000", "trial 002"]


def test_runs_that_the_study_could_not_keep_are_found_again(tmp_path: Path) -> None:
    uri, record, trials = new_store(tmp_path), sweep(), [trial(0), trial(1)]

    def away(_offered: Mapping[int, str]) -> Mapping[int, str]:
        raise TrackingUnavailableError

    tracker = MlflowTracker(uri)
    parent = tracker.start_sweep(record)
    with pytest.raises(TrackingUnavailableError):
        tracker.add_trials(record, parent, trials, away)
    for each, writer in zip(trials, (tracker, MlflowTracker(uri)), strict=True):
        assert writer.add_trials(record, parent, [each], as_offered) == {}
        writer.sync_trial(record, parent, each, Sent())
    assert active_runs(uri, record) == ["trial 000", "trial 001"]


def test_a_store_of_another_schema_is_left_to_the_client(tmp_path: Path) -> None:
    uri, record = new_store(tmp_path), sweep()
    tracker = MlflowTracker(uri)
    parent = tracker.start_sweep(record)
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'another'")
    assert tracker.add_trials(record, parent, TRIALS, as_offered) == {}


def test_the_installed_mlflow_makes_the_tables_that_are_known(tmp_path: Path) -> None:
    assert is_known(sa.create_engine(new_store(tmp_path)))

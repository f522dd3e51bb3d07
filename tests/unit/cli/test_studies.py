"""`winnow studies` and `delete-study` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.study import studies as made
from tests.unit.tracking.made_up import STUDY, bundle, new_store, sweep, trial
from winnow.cli.select_model import command as select_model
from winnow.cli.studies import delete_study, studies
from winnow.config.errors import InputError
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.tracking.connection import open_client
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.run_search import MlflowRunSearch
from winnow.tracking.set_apart import runs_of
from winnow.tracking.tracker import Sent


def ask(command: object, home: Path, uri: str, *flags: str) -> Result:
    environment = {
        "WINNOW_HOME": str(home),
        "MLFLOW_TRACKING_URI": uri,
        "DOCKER_HOST": "tcp://127.0.0.1:1",
    }
    return CliRunner().invoke(command, flags, env=environment, standalone_mode=False)  # type: ignore[arg-type]


def make(home: Path) -> StudyStore:
    store = StudyStore(Database(made.url(home), create=True), STUDY, clock_ms=lambda: 1000)
    store.create(made.experiment(), made.sweep(study=STUDY))
    return store


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A study with one complete trial, its runs, a registered model and its logs."""
    uri, store = new_store(tmp_path), make(tmp_path)
    leases = made.leases_of(store)
    made.complete(leases, made.claim(leases), 0.9)
    store.database.close()
    tracker = MlflowTracker(uri)
    parent = tracker.start_sweep(sweep())
    tracker.sync_trial(sweep(), parent, trial(0), Sent())
    tracker.log_bundle(sweep(), parent, trial(0), bundle(tmp_path / "bundle", trial(0)))
    logs = tmp_path / "studies" / STUDY / "groups" / "w0"
    logs.mkdir(parents=True)
    (logs / "supervisor.log").write_text("at work\n")
    return uri


def state_of(home: Path, uri: str) -> tuple[bool, bool, int]:
    """Whether the study and its folder are there, and how many runs are found as its own."""
    database = Database(made.url(home))
    is_there = StudyStore(database, STUDY).exists()
    database.close()
    return is_there, (home / "studies" / STUDY).exists(), runs_of(uri, STUDY)


def test_without_a_study_one_line_says_so(tmp_path: Path) -> None:
    assert ask(studies, tmp_path, "").stdout == (
        f"There is no study yet; `WINNOW_HOME={tmp_path} make train CONFIG=…` starts one.\n"
    )
    assert json.loads(ask(studies, tmp_path, "", "--json").stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_studies_are_listed_for_programs(tmp_path: Path, uri: str) -> None:
    assert json.loads(ask(studies, tmp_path, uri, "--json").stdout) == [
        {
            "name": STUDY,
            "state": "unfinished",
            "trials": {"waiting": 0, "running": 0, "complete": 1, "pruned": 0, "failed": 0},
            "target": 5,
            "metric": "f1",
            "best": 0.9,
            "best_trial": 0,
            "created_at": "1970-01-01T00:00:00+00:00",
            "changed_at": "1970-01-01T00:00:01+00:00",
            "heard": [],
            "ended_by": None,
            "at_work": {},
        }
    ]


def test_studies_are_one_line_each_for_people(tmp_path: Path, uri: str) -> None:
    line = ask(studies, tmp_path, uri).stdout
    assert line.startswith(f"{STUDY}  unfinished  1 of 5 complete  f1 0.9000 (trial 0)  created ")
    assert line.count("\n") == 1


def test_a_study_is_deleted_only_after_a_yes(tmp_path: Path, uri: str) -> None:
    refused = ask(delete_study, tmp_path, uri, "--study", STUDY)
    assert isinstance(refused.exception, InputError)
    assert f"make delete-study STUDY={STUDY} YES=1" in str(refused.exception)
    going = f"study {STUDY} (1 trial, with logs and report in {tmp_path / 'studies' / STUDY})"
    staying = "Registered models and deployments stay. So do 2 runs in MLflow, marked as those of a deleted study."
    dry = ask(delete_study, tmp_path, uri, "--study", STUDY, "--dry-run").stdout
    assert dry == f"Dry run: {going} would be deleted. {staying}\n"
    assert state_of(tmp_path, uri) == (True, True, 2)
    assert ask(delete_study, tmp_path, uri, "--study", STUDY, "--yes").stdout == f"Deleted {going}. {staying}\n"
    assert state_of(tmp_path, uri) == (False, False, 0)


def test_a_study_with_workers_at_work_is_not_deleted(tmp_path: Path, uri: str) -> None:
    store = StudyStore(Database(made.url(tmp_path)), STUDY)
    made.claim(made.leases_of(store))
    store.database.close()
    refused = ask(delete_study, tmp_path, uri, "--study", STUDY, "--yes")
    assert isinstance(refused.exception, InputError)
    assert f"make cancel STUDY={STUDY}" in str(refused.exception)
    assert state_of(tmp_path, uri) == (True, True, 2)


def test_nothing_is_deleted_while_the_tracking_store_is_away(tmp_path: Path, uri: str) -> None:
    refused = ask(delete_study, tmp_path, f"sqlite:///{tmp_path}/none.db", "--study", STUDY, "--yes")
    assert isinstance(refused.exception, InputError)
    assert "The study was not deleted" in str(refused.exception)
    assert state_of(tmp_path, uri) == (True, True, 2)


def test_an_unknown_study_is_told_the_nearest_name(tmp_path: Path, uri: str) -> None:
    refused = ask(delete_study, tmp_path, uri, "--study", "made-upp", "--yes")
    assert isinstance(refused.exception, InputError)
    assert f"Did you mean {STUDY}?" in str(refused.exception)
    assert state_of(tmp_path, uri) == (True, True, 2)


def test_a_new_study_of_a_deleted_ones_name_starts_afresh(tmp_path: Path, uri: str) -> None:
    versions = Registry(uri).versions(STUDY)
    search = MlflowRunSearch(uri)
    old_sweep = search.sweep(STUDY)
    (old_trial,) = search.trials(STUDY, [], [])
    assert old_sweep is not None
    ask(delete_study, tmp_path, uri, "--study", STUDY, "--yes")
    assert (MlflowRunSearch(uri).sweep(STUDY), list(MlflowRunSearch(uri).trials(STUDY, [], []))) == (None, [])
    store = make(tmp_path)
    assert made.claim(made.leases_of(store)).number == 0
    store.database.close()
    tracker = MlflowTracker(uri)
    parent = tracker.start_sweep(sweep())
    # A second attempt looks for the run that the first may have made.
    sent = tracker.sync_trial(sweep(), parent, trial(0, attempts=2), Sent())
    assert {parent, sent.run_id}.isdisjoint({old_sweep.run_id, old_trial.run_id})
    assert Registry(uri).versions(STUDY) == versions


def test_runs_of_an_experiment_that_was_deleted_in_mlflow_are_set_apart_too(tmp_path: Path, uri: str) -> None:
    client = open_client(uri)
    client.delete_experiment(client.get_experiment_by_name(STUDY).experiment_id)
    ask(delete_study, tmp_path, uri, "--study", STUDY, "--yes")
    assert client.get_experiment_by_name(STUDY).lifecycle_stage == "deleted"
    MlflowTracker(uri).start_sweep(sweep())
    assert runs_of(uri, STUDY) == 1


def test_select_model_finds_no_run_of_a_deleted_study(tmp_path: Path, uri: str) -> None:
    ask(delete_study, tmp_path, uri, "--study", STUDY, "--yes")
    refused = ask(select_model, tmp_path, uri, "--study", STUDY)
    assert isinstance(refused.exception, InputError)
    assert "expected a study with runs in the tracking store, found none with that name" in str(refused.exception)

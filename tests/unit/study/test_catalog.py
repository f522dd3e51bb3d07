"""All studies of a database: listed, and deleted as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.study.studies import claim, complete, experiment, fail, fold, leases_of, make_study, record_fold, sweep
from winnow.config.errors import InputError
from winnow.study.catalog import StudyBusyError, StudySummary, busy_workers, delete_study, summaries
from winnow.study.status import WorkerStatus
from winnow.study.store import StudyStore, study_names
from winnow.study.tables import metadata, studies

AT_WORK = WorkerStatus("w0", "training", 3, 2, 3, 1, 10, 500)


def with_two_trials(folder: Path) -> StudyStore:
    store = make_study(folder)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.9)
    fail(leases, claim(leases), "boom")
    return store


def rows_left(store: StudyStore) -> dict[str, int]:
    """Rows of every table but those that Optuna keeps for itself."""
    found = sa.MetaData()
    found.reflect(store.database.engine)
    own = [table for table in found.sorted_tables if table.name not in ("version_info", "alembic_version")]
    with store.database.reading() as session:
        counts = {
            table.name: session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() for table in own
        }
    assert {table.name for table in metadata.sorted_tables} <= counts.keys()
    return {name: count for name, count in counts.items() if count}


def test_a_study_is_listed_with_its_trials_and_its_best_value(tmp_path: Path) -> None:
    store = with_two_trials(tmp_path)
    assert summaries(store.database) == (
        StudySummary(
            name="a-study",
            state="unfinished",
            trials={"waiting": 0, "running": 0, "complete": 1, "pruned": 0, "failed": 1},
            target=5,
            metric="f1",
            best=0.9,
            best_trial=0,
            created_at_ms=1,
            changed_at_ms=1000,
            heard=(),
        ),
    )


def test_the_state_says_why_no_worker_is_at_work(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    store.set_stopped(True)
    assert [one.state for one in summaries(store.database)] == ["stopped"]
    store.set_refusal(InputError("a rank", expected="the study's rows", found="others", remedy="Seed it."))
    assert [one.state for one in summaries(store.database)] == ["refused"]
    store.hear("w0/1", "w0", "ada", AT_WORK, ttl_s=60)
    assert [(one.state, one.heard) for one in summaries(store.database)] == [("in work", ("w0",))]


def test_a_study_whose_record_lacks_facts_is_listed_too(tmp_path: Path) -> None:
    store = with_two_trials(tmp_path)
    with store.database.writing() as session:
        session.execute(sa.update(studies).values(sweep=json.dumps({"study": "a-study"})))
    (found,) = summaries(store.database)
    assert (found.metric, found.created_at_ms, found.best, found.best_trial) == (None, None, 0.9, 0)


def test_a_deleted_study_leaves_no_row_and_others_keep_theirs(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    other = StudyStore(store.database, "another")
    other.create(experiment(), sweep(study="another"))
    before = rows_left(store)
    leases = leases_of(other)
    complete(leases, claim(leases), 0.9)
    fail(leases, claim(leases), "boom")
    other.hear("w0/1", "w0", "ada", AT_WORK, ttl_s=0)
    delete_study(store.database, other.study_id)
    assert study_names(store.database) == ["a-study"]
    own = {"studies": 1, "study_directions": 1, "study_system_attributes": 3, "winnow_studies": 1}
    assert rows_left(store) == {**before, **own}


def test_a_study_with_a_living_lease_is_not_deleted(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    record_fold(leases, claim(leases), fold(0), 0.5)
    before = rows_left(store)
    assert busy_workers(store.database, store.study_id) == ("w0",)
    with pytest.raises(StudyBusyError) as refused:
        delete_study(store.database, store.study_id)
    assert refused.value.args == (("w0",),)
    assert rows_left(store) == before

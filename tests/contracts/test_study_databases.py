"""What a study promises in every kind of database that may hold it (`conftest.py`)."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.study.studies import (
    claim,
    complete,
    experiment,
    fail,
    finish,
    fold,
    leases_of,
    make_study_in,
    one_job,
    record_fold,
    statements,
    sweep,
)
from winnow.config.errors import InputError
from winnow.study import optuna_tables
from winnow.study.catalog import delete_study, summaries
from winnow.study.database import Database, NoStudiesError
from winnow.study.leases import LeaseLostError
from winnow.study.schedule import Job, ScheduleView
from winnow.study.status import WorkerStatus
from winnow.study.store import StudyStore

SPAWN = multiprocessing.get_context("spawn")


def at_once(task: Callable[..., None], *of_each: tuple[Any, ...]) -> list[Any]:
    """What processes answer that do `task` at once; each gets its arguments and a queue for its answer."""
    answers = SPAWN.Queue()
    processes = [SPAWN.Process(target=task, args=(*arguments, answers)) for arguments in of_each]
    for process in processes:
        process.start()
    answered = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=30)
    return answered


def work_until_done(database_url: str, owner: str, answers: Any) -> None:
    """Train trials, and give some of them back at first."""
    database = Database(database_url)
    leases = leases_of(StudyStore(database, "a-study"), refit_top=1)
    completed = 0
    while not (claimed := leases.claim(owner, owner, one_job)).is_study_finished:
        if not claimed.jobs:
            time.sleep(0.005)
        for lease in claimed.leases:
            if lease.kind != "trial":
                leases.finish_task(lease, result={"version": "1", "metrics": {}})
            elif lease.attempt == 1 and lease.number % 3 == 0:
                leases.give_back(lease, "it was asked to stop", is_lost=False)
            else:
                complete(leases, lease, 0.5)
                completed += 1
    database.close()
    answers.put(completed)


def make(database_url: str, answers: Any) -> None:
    store = make_study_in(database_url)
    answers.put((store.study_id, store.target()))
    store.database.close()


def test_processes_that_start_at_once_make_exactly_the_trials_that_were_asked_for(database_url: str) -> None:
    store = make_study_in(database_url, trials=31)
    completed = at_once(work_until_done, *((database_url, f"w{index}") for index in range(3)))
    assert sum(completed) == 31
    counts = {"waiting": 0, "running": 0, "complete": 31, "pruned": 0, "failed": 0, "all": 31}
    assert store.counts() == counts
    assert [trial.number for trial in store.trials()] == list(range(31))
    assert [trial.attempts for trial in store.trials()] == [2 if number % 3 == 0 else 1 for number in range(31)]
    store.database.close()


def test_processes_that_make_a_study_at_once_make_one(database_url: str) -> None:
    made = at_once(make, *(((database_url,),) * 3))
    assert made == [made[0]] * 3


def test_a_study_is_resumed_while_a_worker_claims(database_url: str) -> None:
    store = make_study_in(database_url)
    resumed = threading.Thread(target=lambda: make_study_in(database_url, trials=7).database.close(), daemon=True)

    def decide(view: ScheduleView) -> tuple[Job, ...]:
        if not resumed.is_alive():
            resumed.start()
            time.sleep(0.5)  # until it waits for this claim
        return one_job(view)

    claimed = leases_of(store).claim("w0/1", "w0", decide)
    resumed.join(30.0)
    assert ([lease.number for lease in claimed.leases], store.target()) == ([0], 7)
    store.database.close()


def test_a_stale_lease_writes_nothing(database_url: str) -> None:
    store = make_study_in(database_url)
    leases = leases_of(store)
    stale = claim(leases)
    leases.give_back(stale, "it was taken for dead", is_lost=True)
    current = claim(leases, "w1/1")
    with pytest.raises(LeaseLostError):
        record_fold(leases, stale, fold(0), 0.5)
    record_fold(leases, current, fold(0), 0.5)
    assert [trial.attempts for trial in store.trials()] == [2]
    assert len(store.incidents()) == 1
    store.database.close()


def test_an_expired_lease_passes_on(database_url: str) -> None:
    store = make_study_in(database_url)
    leases = leases_of(store, ttl_s=0.05)
    lost = claim(leases)
    time.sleep(0.1)
    assert claim(leases, "w1/1").number == lost.number
    store.database.close()


def test_the_database_s_clock_counts_seconds_since_the_epoch(database_url: str) -> None:
    store = make_study_in(database_url)
    with store.database.reading() as session:
        assert abs(store.database.now(session) - time.time()) < 5
    store.database.close()


def test_a_trial_keeps_its_parameters_and_is_seen_by_the_sampler(database_url: str) -> None:
    store = make_study_in(database_url, trials=15)
    leases = leases_of(store)
    for score in range(12):
        lease = claim(leases)
        record_fold(leases, lease, fold(0, score / 12), score / 12)
        finish(leases, lease, "complete", score / 12)
    assert all(trial.params.keys() == {"lr", "hidden"} for trial in store.trials())
    status = store.status(started_at_ms=0)
    assert (status.trials_done, status.best_trial) == (12, 11)
    store.database.close()


def test_conditional_parameters_and_a_sampler_s_memory_are_kept(database_url: str) -> None:
    space = {
        "optimizer": {"choice": ["sgd", "adamw"]},
        "momentum": {"float": [0.0, 0.99], "when": {"optimizer": "sgd"}},
    }
    store = make_study_in(database_url, space=space, sampler={"type": "nsga2", "population_size": 3}, trials=8)
    for number in range(8):
        leases = store.leases()
        complete(leases, claim(leases, f"w{number}/1"), number / 8)
    params = [trial.params for trial in store.trials()]
    assert all(("momentum" in each) == (each["optimizer"] == "sgd") for each in params)
    with store.database.reading() as connection:
        ids = [optuna_tables.trial_id_of(connection, store.study_id, number) for number in range(8)]
        notes = optuna_tables.read_notes(connection, ids)
    generations = [notes[trial_id]["NSGAIISampler:generation"] for trial_id in ids]
    assert generations == sorted(generations)
    assert max(generations) >= 1
    store.database.close()


def test_a_budget_ends_a_study_and_a_larger_one_continues_it(database_url: str) -> None:
    store = make_study_in(database_url, trials=9, budget={"time": "1h", "failures": 1})
    leases = store.leases()
    begun = claim(leases, "w1/1")
    fail(leases, claim(leases), "diverged")
    complete(leases, begun, 0.5)
    assert claim(leases).kind == "refit"
    assert (store.target(), store.ended_by(), [one.target for one in summaries(store.database)]) == (2, "failures", [2])
    store.create(experiment(trials=9, budget={"time": "1h", "failures": 2}), sweep())
    assert (store.target(), store.ended_by()) == (9, "trials")
    store.database.close()


def test_a_worker_is_heard_until_it_ends(database_url: str) -> None:
    store = make_study_in(database_url)
    status = WorkerStatus("w0", "training", 3, 2, 3, 1, 10, 500)
    store.hear("w0/1", "w0", "here", status, ttl_s=30.0)
    assert [(life.status, life.is_heard) for life in store.workers()] == [(status, True)]
    store.hear("w0/1", "w0", "here", status, ttl_s=0.0)
    assert [life.is_heard for life in store.workers()] == [False]
    store.database.close()


def test_the_status_is_read_with_one_statement(database_url: str) -> None:
    store = make_study_in(database_url, trials=2)
    leases, at_work = leases_of(store), WorkerStatus("w0", "training", 0, 2, 3, 1, 10, 500)
    complete(leases, claim(leases), 0.5)
    record_fold(leases, claim(leases), fold(0), 0.5)
    store.hear("w0/1", "w0", "here", at_work, ttl_s=30.0)
    store.set_stopped(True)
    store.status(started_at_ms=0)
    with statements(store) as sent:
        status = store.status(started_at_ms=0)
    assert (status.trials_done, status.best, status.folds_done, status.folds_total) == (1, 0.5, 4, 6)
    assert (status.workers, status.owners) == ((at_work,), {"w0": frozenset({"w0/1"})})
    assert (status.is_stopped, status.is_done, len(sent)) == (True, False, 1)
    store.database.close()


def test_another_definition_is_refused(database_url: str) -> None:
    store = make_study_in(database_url)
    with pytest.raises(InputError, match=r"search\.space"):
        store.create(experiment(space={"lr": {"float": [1e-4, 0.5], "log": True}}), sweep())
    store.database.close()


def test_a_database_without_studies_is_refused_where_none_shall_be_made(database_url: str) -> None:
    Database(database_url, create=True).close()
    database = Database(database_url)
    with pytest.raises(InputError, match="a study that was started"):
        _ = StudyStore(database, "a-study").header
    database.close()


# Optuna keeps the engine of a storage that it could not open; the connection is closed when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_database_in_which_no_study_was_made_is_told_from_one_that_is_away(database_url: str) -> None:
    with pytest.raises(NoStudiesError):
        Database(database_url)
    gc.collect()


def test_a_deleted_study_is_gone_and_the_next_one_of_its_name_starts_at_trial_0(database_url: str) -> None:
    store = make_study_in(database_url)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.9)
    fail(leases, claim(leases), "boom")
    store.hear("w0/1", "w0", "ada", WorkerStatus("w0", "stopped", None, None, 3, None, None, 0), ttl_s=0)
    (listed,) = summaries(store.database)
    assert (listed.trials["complete"], listed.trials["failed"], listed.best, listed.best_trial) == (1, 1, 0.9, 0)
    delete_study(store.database, store.study_id)
    assert summaries(store.database) == ()
    store.database.close()
    again = make_study_in(database_url)
    assert (again.counts()["all"], claim(leases_of(again)).number) == (0, 0)
    again.database.close()

"""Budgets: what ends a study, what is counted, and how a larger budget continues it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.study.studies import claim, complete, experiment, fail, make_study, one_job, sweep
from winnow.config.experiment import BudgetConfig
from winnow.study import budget, optuna_tables
from winnow.study.catalog import summaries
from winnow.study.store import StudyStore


@pytest.mark.parametrize(
    ("limits", "worked_s", "failed", "by"),
    [
        ({}, 1e9, 1000, None),
        ({"time": "1h30m"}, 5399.0, 0, None),
        ({"time": "1h30m"}, 5400.0, 0, "time"),
        ({"failures": 3}, 0.0, 2, None),
        ({"failures": 3}, 0.0, 3, "failures"),
        ({"time": "90s", "failures": 3}, 90.0, 3, "failures"),
    ],
)
def test_a_budget_is_spent_at_its_limit(limits: dict[str, Any], worked_s: float, failed: int, by: str | None) -> None:
    assert budget.spent(BudgetConfig.model_validate(limits), worked_s, failed) == by


def set_work(store: StudyStore, before: float, since: float | None) -> None:
    with store.database.writing() as connection:
        optuna_tables.set_attribute(connection, store.study_id, "winnow:work", {"before": before, "since": since})


def test_failures_end_a_study_once_begun_trials_are_finished(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=9, budget={"failures": 2})
    leases = store.leases()
    begun = claim(leases, "w1/1")
    fail(leases, claim(leases), "diverged")
    assert (store.target(), store.ended_by()) == (9, "trials")
    fail(leases, claim(leases), "diverged")
    assert leases.claim("w0/1", "w0", lambda view: ()).jobs == ()
    assert (store.target(), store.ended_by()) == (3, "failures")
    complete(leases, begun, 0.5)
    assert claim(leases).kind == "refit"
    assert store.view().ended_by == "its failed trials are spent (search.budget.failures)"


def test_time_ends_a_study_and_a_larger_budget_continues_it(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=9, budget={"time": "1h"})
    leases = store.leases()
    complete(leases, claim(leases), 0.5)
    set_work(store, before=3601.0, since=None)
    leases = store.leases()
    assert claim(leases).kind == "refit"
    assert (store.target(), store.ended_by()) == (1, "time")
    assert not store.wants_more(experiment(trials=9, budget={"time": "1h"}))
    more = experiment(trials=9, budget={"time": "3h"})
    assert store.wants_more(more)
    store.create(more, sweep())
    assert (store.target(), store.ended_by()) == (9, "trials")
    assert (claim(store.leases(), "w1/1").kind, store.counts()["all"]) == ("trial", 2)


def test_a_resume_with_a_spent_budget_adds_no_trial(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=9, budget={"failures": 1})
    leases = store.leases()
    fail(leases, claim(leases), "diverged")
    leases.claim("w0/1", "w0", lambda view: ())
    store.create(experiment(trials=20, budget={"failures": 1}), sweep())
    assert (store.target(), store.ended_by()) == (1, "failures")
    leases.retry_failed()
    store.create(experiment(trials=20, budget={"failures": 1}), sweep())
    assert (store.target(), store.ended_by()) == (20, "trials")


def test_time_without_workers_does_not_count(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=9)
    with store.database.writing() as connection:
        now = store.database.now(connection)
        assert budget.worked_s(connection, store.study_id, now - 7200.0) == 0.0
        assert budget.worked_s(connection, store.study_id, now - 3600.0) == 3600.0
    clocked = StudyStore(store.database, store.name, clock_ms=lambda: int(1000 * (now - 5400.0)))
    complete(clocked.leases(), claim(clocked.leases()), 0.5)
    with store.database.writing() as connection:
        assert budget.rested_s(connection, store.study_id, now) == pytest.approx(1800.0, abs=1.0)
        assert budget.worked_s(connection, store.study_id, now + 10.0) == pytest.approx(1800.0, abs=1.0)
        assert budget.worked_s(connection, store.study_id, now + 20.0) == pytest.approx(1810.0, abs=1.0)


def test_a_grid_says_that_it_is_exhausted(tmp_path: Path) -> None:
    space = {"depth": {"int": [1, 2]}}
    store = make_study(tmp_path, trials=None, sampler="grid", space=space)
    leases = store.leases()
    for _ in range(2):
        complete(leases, claim(leases), 0.5)
    assert store.ended_by() == "grid"
    assert store.view().ended_by == "all points of the grid are tried"
    while claimed := leases.claim("w0/1", "w0", one_job).leases:
        leases.finish_task(claimed[0], result={})
    assert [one.ended_by for one in summaries(store.database)] == ["grid"]

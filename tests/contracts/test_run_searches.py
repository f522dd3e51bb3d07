"""What every run search finds, whatever it searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.tracking.made_up import STUDY, new_store, sweep, trial
from winnow.testing.run_search import MemoryRunSearch
from winnow.testing.tracker import MemoryTracker
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.run_search import Condition, MlflowRunSearch, Order, RunSearch
from winnow.tracking.tracker import Sent, Tracker

SCORES = {0: 0.91, 1: 0.95, 2: 0.93, 3: 0.95, 4: 0.20}


def fill(tracker: Tracker) -> None:
    for study in (STUDY, "another"):
        record = sweep(study)
        parent = tracker.start_sweep(record)
        for number, score in SCORES.items():
            state = "pruned" if number == 4 else "complete"
            params = {"lr": 10.0 ** -(number + 3), "hidden": [64] * (number % 2 + 1), "note": 'it\'s "quoted"'}
            one = trial(number, (score,) * 5, state, study, params=params)  # type: ignore[arg-type]
            tracker.sync_trial(record, parent, one, Sent())


@pytest.fixture(scope="module", params=["mlflow", "memory"])
def search(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunSearch:
    if request.param == "memory":
        memory = MemoryTracker()
        fill(memory)
        return MemoryRunSearch(memory.runs.values())
    uri = new_store(Path(tmp_path_factory.mktemp("search")))
    fill(MlflowTracker(uri))
    return MlflowRunSearch(uri)


def found(search: RunSearch, *conditions: Condition, order: tuple[Order, ...] = ()) -> list[int | None]:
    return [run.trial for run in search.trials(STUDY, conditions, order)]


def test_a_studys_trials_come_in_the_order_of_their_start(search: RunSearch) -> None:
    assert found(search) == [0, 1, 2, 3, 4]


def test_the_sweep_is_no_trial(search: RunSearch) -> None:
    sweep_run = search.sweep(STUDY)
    assert sweep_run is not None
    assert (sweep_run.trial, sweep_run.tags["winnow.metric"]) == (None, "f1")


def test_an_unknown_study_has_nothing(search: RunSearch) -> None:
    assert search.sweep("nobody") is None
    assert list(search.trials("nobody", [], [])) == []


def test_equals_are_ordered_by_start_and_runs_without_the_metric_come_last(search: RunSearch) -> None:
    assert found(search, order=(Order("f1", "maximize"),)) == [1, 3, 2, 0, 4]
    assert found(search, order=(Order("f1", "minimize"),)) == [0, 2, 1, 3, 4]
    by_lr = (Order("f1", "maximize"), Order("param.lr", "minimize"), Order("f1", "minimize"))
    assert found(search, order=by_lr) == [3, 1, 2, 0, 4]


@pytest.mark.parametrize(
    ("condition", "trials"),
    [
        (Condition("metric", "f1", ">=", 0.93), [1, 2, 3]),
        (Condition("metric", "f1", ">", 0.93), [1, 3]),
        (Condition("metric", "f1", "<", 0.93), [0]),
        (Condition("metric", "f1", "!=", 0.93), [0, 1, 3]),
        (Condition("metric", "param.lr", "<=", 1e-5), [2, 3, 4]),
        (Condition("metric", "f1", "<", 1e20), [0, 1, 2, 3]),
        (Condition("metric", "f1", ">", -1e-20), [0, 1, 2, 3]),
        (Condition("metric", "holdout.f1", ">", 0.0), []),
        (Condition("param", "hidden", "=", "[64]"), [0, 2, 4]),
        (Condition("param", "hidden", "!=", "[64]"), [1, 3]),
        (Condition("param", "nothing", "!=", "x"), []),
        (Condition("param", "note", "=", 'it\'s "quoted"'), [0, 1, 2, 3, 4]),
        (Condition("param", "note", "=", "it's"), []),
        (Condition("tag", "winnow.state", "=", "pruned"), [4]),
    ],
)
def test_conditions_are_met(search: RunSearch, condition: Condition, trials: list[int]) -> None:
    assert found(search, condition) == trials

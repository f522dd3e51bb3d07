from __future__ import annotations

from dataclasses import replace

from tests.unit.tracking.made_up import START_MS, fold, sweep, trial
from winnow.tracking.projection import (
    Batch,
    Point,
    best_of,
    experiment_tags,
    mean_and_spread,
    parameters,
    pending,
    sweep_params,
    trial_name,
    trial_start,
)
from winnow.tracking.tracker import Sent


def test_run_names_sort_as_numbers_do() -> None:
    assert [trial_name(number) for number in (3, 17, 1000)] == ["trial 003", "trial 017", "trial 1000"]


def test_only_new_folds_are_pending() -> None:
    record = trial(0, (0.5, 0.6), "running")
    batch = pending(sweep(), record, Sent("run", frozenset({0}), state="running"))
    at = START_MS + 1900
    assert batch == Batch(
        metrics=(
            Point("f1.fold", 0.6, at, 1),
            Point("loss.fold", 0.4, at, 1),
            Point("epochs.fold", 30.0, at, 1),
            Point("train_s.fold", 0.5, at, 1),
            Point("folds.done", 2.0, at, 1),
        )
    )


def test_a_learning_curve_has_epochs_for_steps_and_a_name_for_each_fold() -> None:
    curves = {1: {"train_loss": ((1, 0.5), (3, 0.2))}, 2: {"val_f1": ((1, 0.1),)}}
    record = trial(0, (0.5, 0.6), "pruned", curves=curves)
    sent = Sent("run", frozenset({0}), state="running")
    points = [point for point in pending(sweep(), record, sent).metrics if "/" in point.key]
    assert points == [
        Point("train_loss/fold_2", 0.5, START_MS + 1900, 1),
        Point("train_loss/fold_2", 0.2, START_MS + 1900, 3),
        Point("val_f1/fold_3", 0.1, record.ended_at_ms, 1),
    ]


def test_of_a_long_curve_some_points_are_sent_with_both_ends() -> None:
    record = trial(0, (0.5,), curves={0: {"train_loss": tuple((epoch, 1 / epoch) for epoch in range(1, 101))}})
    steps = [point.step for point in pending(sweep(), record, Sent()).metrics if "/" in point.key]
    assert (len(steps), steps[0], steps[-1]) == (50, 1, 100)


def test_nothing_is_pending_once_everything_is_sent() -> None:
    done = Sent("run", frozenset(range(5)), True, True, "complete")
    assert not pending(sweep(), trial(0, holdout={"f1": 0.9}, holdout_at_ms=START_MS), done)


def test_points_of_a_trial_carry_times_of_the_trial_alone() -> None:
    record = trial(0, holdout={"f1": 0.9}, holdout_at_ms=START_MS + 99_000)
    times = {point.timestamp_ms for point in pending(sweep(), record, Sent()).metrics}
    known = {record.started_at_ms, record.holdout_at_ms, *(one.ended_at_ms for one in record.folds)}
    assert times <= known


def test_a_metric_that_a_fold_lacks_has_no_mean() -> None:
    folds = (fold(0, 0.5), fold(1, 0.7, metrics={"f1": 0.7}))
    assert list(mean_and_spread(folds)) == ["f1"]


def test_the_mean_of_the_objective_is_the_studys_own_number() -> None:
    record = trial(0, value=0.123)
    points = {point.key: point.value for point in pending(sweep(), record, Sent(state="running")).metrics}
    assert points["f1"] == 0.123


def test_parameters_are_text_and_numbers_are_metrics_too() -> None:
    record = trial(0, params={"lr": 1e-5, "layers": 2, "hidden": [64], "act": "relu", "bias": False, "none": None})
    assert parameters(record) == Batch(
        params={"lr": "1e-05", "layers": "2", "hidden": "[64]", "act": "relu", "bias": "false", "none": "null"},
        metrics=(Point("param.lr", 1e-5, record.started_at_ms), Point("param.layers", 2.0, record.started_at_ms)),
    )


def test_names_that_mlflow_refuses_are_made_fit() -> None:
    odd = trial(0, (), "running", params={"lr@warm": 0.1})
    assert set(parameters(odd).params) == {"lr_warm"}
    assert trial_start(sweep(tags={"who?": "me"}), "parent", odd).tags["who_"] == "me"


def test_what_may_change_between_two_calls_is_no_parameter_of_the_sweep() -> None:
    kept = sweep_params(sweep())
    assert kept["data.holdout"] == "0.2"
    assert kept["search.seed"] == "7"
    assert not any(name.startswith(("search.trials", "execution", "refit")) for name in kept)


def test_the_shared_view_orders_by_the_objective() -> None:
    tags = experiment_tags(sweep(metric="rmse", goal="minimize"))
    view = tags["mlflow.sharedViewState.sweep"]
    assert '"orderByKey": "metrics.`rmse`", "orderByAsc": true' in view
    assert "params.`lr`" in view


def test_the_best_trial_is_complete_and_the_earlier_of_equals() -> None:
    trials = [trial(2), trial(1), trial(0, (0.99,), "pruned"), trial(3, value=float("nan"))]
    assert [one.number for one in best_of(sweep(), trials)] == [1, 2]
    lowest = replace(trial(4), value=0.1)
    assert best_of(sweep(goal="minimize"), [*trials, lowest])[0] == lowest


def test_a_refits_holdout_is_added_to_the_runs_description() -> None:
    record = trial(0, holdout={"f1": 0.9}, holdout_at_ms=START_MS)
    sent = Sent("run", frozenset(range(5)), True, False, "complete")
    assert pending(sweep(), record, sent) == Batch(
        metrics=(Point("holdout.f1", 0.9, START_MS),),
        tags={"mlflow.note.content": "f1 **0.94** ± 0.0316 over 5 folds, 0.9 on the holdout"},
    )

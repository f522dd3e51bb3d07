"""Folds of one job: which train as one, and what is said of those that do not."""

import pytest

from tests.unit.training.test_jobs import PARTS, _jobs
from winnow.training.messages import FoldFailed, FoldJob, FoldScored
from winnow.training.packs import Alone, Packed


def folds(*trials, lr=0.01, **params):
    return [FoldJob(trial, fold, {"lr": lr, **params}) for trial in trials for fold in range(5)]


def alone(parts):
    return [(part.job.trial, part.job.fold, part.reason) for part in parts if isinstance(part, Alone)]


def packed(parts):
    return [[(result.trial, result.fold) for result in part.results] for part in parts if isinstance(part, Packed)]


@pytest.mark.parametrize(
    ("source", "factory", "metric"),
    [
        ("sklearn:iris", "winnow.models:mlp", "accuracy"),
        ("sklearn:digits", "winnow.models:cnn", "f1"),
        ("sklearn:diabetes", "winnow.models:linear", "r2"),
    ],
)
def test_folds_that_train_as_one_score_as_alone(world, source, factory, metric):
    execution = {"pack": 5}
    jobs = _jobs(world, source=source, factory=factory, metric=metric, training={"epochs": 2}, execution=execution)
    members = folds(0)
    parts = list(jobs.packs(members))
    assert packed(parts) == [[(0, fold) for fold in range(5)]]
    for job, result in zip(members, parts[0].results, strict=True):
        assert isinstance(result, FoldScored)
        expected = jobs.train_fold(job)
        assert result.metrics == pytest.approx(expected.metrics, rel=1e-3, abs=1e-3)
        assert (result.packed, result.not_packed, result.epochs) == (5, None, expected.epochs)


def test_the_first_fold_of_a_structure_trains_alone_for_its_time_to_be_known(world):
    jobs = _jobs(world, training={"epochs": 2})
    first = list(jobs.packs(folds(0)))
    assert alone(first) == [(0, 0, None)]
    assert packed(first) == [[(0, 1), (0, 2), (0, 3), (0, 4)]]


def test_a_number_of_models_that_is_set_trains_as_one_from_the_first(world):
    jobs = _jobs(world, training={"epochs": 2}, execution={"pack": 5})
    assert packed(jobs.packs(folds(0))) == [[(0, fold) for fold in range(5)]]


def test_results_of_a_stack_say_what_share_of_its_cost_alone_a_model_takes(world):
    jobs = _jobs(world, training={"epochs": 20})
    parts = jobs.packs(folds(0))
    assert jobs.train_fold(next(parts).job).cost == 1
    (share,) = {result.cost for result in next(parts).results}
    assert 0 < share < 1


def test_trials_of_one_structure_train_as_one_and_others_apart(world):
    jobs = _jobs(world, training={"epochs": 1}, search=_space(hidden=[[4], [8]]), execution={"pack": 4})
    members = [FoldJob(trial, 0, {"lr": 0.01, "hidden": hidden}) for trial, hidden in enumerate(([4], [8], [4], [8]))]
    assert sorted(packed(jobs.packs(members))) == [[(0, 0), (2, 0)], [(1, 0), (3, 0)]]


def _space(**choices):
    space = {name: {"choice": values} for name, values in choices.items()}
    return {"space": {"lr": {"float": [1e-4, 1e200]}, **space}, "metric": {"name": "accuracy"}}


def test_a_member_that_diverges_fails_alone(world):
    jobs = _jobs(world, training={"epochs": 2, "optimizer": "sgd"}, search=_space(), execution={"pack": 2})
    members = [FoldJob(0, 0, {"lr": 0.01}), FoldJob(1, 0, {"lr": 1e38})]
    (part,) = jobs.packs(members)
    good, bad = part.results
    assert isinstance(good, FoldScored) and good.metrics["accuracy"] > 0.5
    assert isinstance(bad, FoldFailed) and bad.failure.kind == "diverged"


def test_a_model_that_is_not_batched_trains_alone_and_says_why(world):
    jobs = _jobs(world, factory=f"{PARTS}:mixing", training={"epochs": 1})
    assert alone(jobs.packs(folds(0)))[0][2] == "a parameter that takes no part in the forward"


def test_a_factory_that_fails_is_left_to_fail_alone(world):
    jobs = _jobs(world, factory=f"{PARTS}:build", options={"fault": "raise"})
    assert alone(jobs.packs(folds(0))) == [(0, fold, None) for fold in range(5)]


def test_a_training_function_of_ones_own_trains_alone(world):
    jobs = _jobs(world, training={"loop": f"{PARTS}:train_fold"}, source="sklearn:breast_cancer")
    assert alone(jobs.packs(folds(0)[:2])) == [(0, fold, "a custom training function") for fold in range(2)]

"""Learning curves: of a fold that trains alone, in a stack, and by a function of one's own."""

import itertools
import math

import msgspec
import pytest

from tests.unit.training.test_jobs import PARTS, _jobs
from winnow.training.curves import MOST_POINTS, Curves
from winnow.training.messages import FoldJob, FoldStopped, FromRank, Progress

JOB = FoldJob(0, 0, {"lr": 0.01})


def test_a_curve_has_no_more_points_than_are_kept_with_both_ends_and_six_digits():
    curves = Curves()
    for epoch in range(1, 1001):
        curves.add(epoch, train_loss=1 / (3 * epoch), val_auroc=math.nan)
    (points,) = curves.points().values()
    epochs = [epoch for epoch, _ in points]
    assert (len(points), points[0], points[-1]) == (MOST_POINTS, (1, 0.333333), (1000, 0.000333333))
    assert max(after - before for before, after in itertools.pairwise(epochs)) <= 11


def test_a_fold_has_its_training_loss_after_every_epoch(world):
    jobs = _jobs(world, training={"epochs": 4})
    learning, resting = (jobs.train_fold(FoldJob(0, 0, {"lr": lr})).curves for lr in (0.01, 1e-12))
    assert set(learning) == set(resting) == {"train_loss"}
    epochs, losses = zip(*learning["train_loss"], strict=True)
    assert epochs == (1, 2, 3, 4)
    assert list(losses) == sorted(set(losses), reverse=True)
    assert dict(resting["train_loss"]) == pytest.approx(dict.fromkeys(epochs, resting["train_loss"][0][1]), rel=1e-5)


def test_early_stopping_adds_the_loss_of_the_watched_rows(world):
    training = {"epochs": 200, "early_stopping": {"patience": 2}}
    scored = _jobs(world, training=training).train_fold(FoldJob(0, 0, {"lr": 0.1}))
    assert [epoch for epoch, _ in scored.curves["watch_loss"]] == list(range(1, scored.epochs + 1))
    assert set(scored.curves) == {"train_loss", "watch_loss"}


def test_metrics_are_measured_as_often_as_asked_and_after_the_last_epoch(world):
    training = {"epochs": 5, "curves": {"type": "metrics", "every": 2}}
    scored = _jobs(world, training=training).train_fold(JOB)
    assert {name: [epoch for epoch, _ in points] for name, points in scored.curves.items()} == {
        "train_loss": [1, 2, 3, 4, 5],
        "val_accuracy": [2, 4, 5],
        "val_loss": [2, 4, 5],
    }
    assert scored.curves["val_accuracy"][-1][1] == pytest.approx(scored.metrics["accuracy"], rel=1e-5)


def test_measuring_changes_nothing_in_the_training(world):
    measured = _jobs(world, training={"epochs": 5, "curves": "metrics"}, options={"dropout": 0.5}).train_fold(JOB)
    unmeasured = _jobs(world, training={"epochs": 5, "curves": "off"}, options={"dropout": 0.5}).train_fold(JOB)
    assert (measured.metrics, unmeasured.curves) == (unmeasured.metrics, {})


@pytest.mark.parametrize("curves", ["loss", "metrics", "off"])
def test_models_of_a_stack_have_the_curves_of_models_that_train_alone(world, curves):
    training = {"epochs": 4, "curves": curves, "early_stopping": {"patience": 3}}
    jobs = _jobs(world, training=training, execution={"pack": 5})
    members = [FoldJob(0, fold, {"lr": 0.01}) for fold in range(5)]
    (packed,) = jobs.packs(members)
    for job, result in zip(members, packed.results, strict=True):
        alone = jobs.train_fold(job).curves
        assert set(result.curves) == set(alone)
        for name, points in alone.items():
            assert [epoch for epoch, _ in result.curves[name]] == [epoch for epoch, _ in points]
            found, expected = ([value for _, value in each] for each in (result.curves[name], points))
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_what_a_training_function_reports_becomes_its_curves(world):
    jobs = _jobs(world, training={"loop": f"{PARTS}:train_fold_with_curves"})
    assert jobs.train_fold(JOB).curves == {
        "train_loss": ((1, 1.0), (2, 0.5)),
        "val_accuracy": ((1, 0.25), (2, 0.5)),
        "train_accuracy": ((2, 0.75),),
    }


def test_a_loss_of_nan_in_a_training_function_reaches_the_supervisor_without_harm(world):
    sent = []
    jobs = _jobs(world, sent=sent, training={"loop": f"{PARTS}:train_fold_with_nan"})
    assert jobs.train_fold(JOB).curves == {"train_loss": ((2, 0.5),)}
    decoder = msgspec.json.Decoder(FromRank)
    assert [decoder.decode(msgspec.json.encode(message)) for message in sent] == [Progress(1, 2), Progress(2, 2)]


def test_a_fold_stops_with_the_epoch_after_which_the_supervisor_says_so(world):
    asked = []

    def ask(scored):
        asked.append(scored)
        return scored.epoch == 4

    training = {"epochs": 8, "curves": {"every": 2}}
    jobs = _jobs(world, ask=ask, pruner={"type": "median", "every": "epoch"}, training=training)
    stopped = jobs.train_fold(JOB)
    assert isinstance(stopped, FoldStopped)
    assert [(each.trial, each.fold, each.epoch) for each in asked] == [(0, 0, 2), (0, 0, 4)]
    assert stopped.curves["val_accuracy"] == tuple((each.epoch, pytest.approx(each.value, rel=1e-5)) for each in asked)
    assert [epoch for epoch, _ in stopped.curves["train_loss"]] == [1, 2, 3, 4]


def test_a_function_of_ones_own_is_stopped_where_it_reports_the_objective(world):
    training = {"loop": f"{PARTS}:train_fold_with_curves"}
    jobs = _jobs(world, ask=lambda _scored: True, pruner={"type": "median", "every": "epoch"}, training=training)
    stopped = jobs.train_fold(JOB)
    assert stopped.curves == {"train_loss": ((1, 1.0),), "val_accuracy": ((1, 0.25),)}


def test_trials_that_may_stop_after_an_epoch_train_alone(world):
    jobs = _jobs(world, pruner={"type": "median", "every": "epoch"}, execution={"pack": 5})
    (first, *_) = jobs.packs([FoldJob(0, fold, {"lr": 0.01}) for fold in range(5)])
    assert first.reason == "trials that may stop after each epoch (search.pruner.every)"

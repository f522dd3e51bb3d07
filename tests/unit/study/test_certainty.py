"""How sure a study's winner is: probabilities that hold, leads, and alarms for overtuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from tests.unit.report.sample_study import SampleStudy
from winnow.study.certainty import Noise, certainty_of, lead, noise_of, probabilities, student
from winnow.study.view import Champion, StudyView
from winnow.tracking.records import FoldRecord

OVERLAP = 0.25
Floats = NDArray[np.float64]


def sweep(levels: Floats, noise: float, random: np.random.Generator, *, folds: int = 5) -> tuple[Floats, Floats]:
    """Scores of trials with these true levels, best mean first, and the levels in that order.

    Folds differ in difficulty; training sets overlap, so that a part of the noise is common to all folds of a trial.
    """
    shape = (len(levels), folds)
    table = levels[:, None] + random.normal(0, 1, folds) + random.normal(0, noise, shape)
    table += random.normal(0, noise * OVERLAP**0.5, (len(levels), 1))
    order = np.argsort(-table.mean(axis=1))
    return table[order], levels[order]


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_a_winner_is_the_best_trial_as_often_as_its_probability_says(spread: float) -> None:
    random, runs = np.random.default_rng(7), 100
    said, was = [], []
    for _ in range(runs):
        table, levels = sweep(random.normal(0, spread, 30), 1.0, random)
        said.append(probabilities(table.mean(axis=1).tolist(), noise_of(table.tolist(), OVERLAP))[0])
        was.append(levels[0] == levels.max())
    # Three standard errors of a share of 100.
    assert abs(float(np.mean(said)) - float(np.mean(was))) < 3 * 0.5 / runs**0.5


def test_without_its_luck_a_winner_is_expected_where_it_really_is() -> None:
    random, runs = np.random.default_rng(8), 200
    lucky, corrected = [], []
    for _ in range(runs):
        table, levels = sweep(random.normal(0, 1.0, 40), 2.0, random)
        noise = noise_of(table.tolist(), OVERLAP)
        true = levels[0] + float(table.mean() - levels.mean())
        lucky.append(float(table[0].mean()) - true)
        corrected.append(noise.without_luck(float(table[0].mean())) - true)
    assert float(np.mean(lucky)) > 0.8
    assert abs(float(np.mean(corrected))) < 0.3


def test_equal_trials_are_all_equally_likely_and_all_spread_is_noise() -> None:
    noise = Noise(center=0.9, variance=0.01, freedom=36, spread=0.0)
    assert (noise.share, probabilities([0.9, 0.8, 0.95, 0.91], noise)) == (1.0, [0.25] * 4)


def test_folds_that_never_differ_leave_no_doubt() -> None:
    assert probabilities([0.9, 0.8, 0.9], noise_of([[0.9] * 3, [0.9] * 3, [0.8] * 3], OVERLAP)) == [0.5, 0.0, 0.5]


def test_quantiles_of_student_are_scipys() -> None:
    for freedom in (1, 2, 3, 4, 9, 10, 49):
        assert student(0.975, freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)


def test_a_corrected_interval_covers_the_true_lead() -> None:
    random, covered = np.random.default_rng(5), 0
    for _ in range(500):
        table, levels = sweep(np.array([0.5, 0.0]), 1.0, random)
        found = lead(0, 1, {0: table[0].tolist(), 1: table[1].tolist()}, 1.0, OVERLAP)
        covered += found.low <= levels[0] - levels[1] <= found.high
    assert covered >= 0.93 * 500


def test_a_study_of_two_trials_or_of_one_fold_says_nothing() -> None:
    assert certainty_of(SampleStudy(trials=2).view()) is None
    assert certainty_of(SampleStudy(folds=1).view()) is None


def test_a_lower_metric_that_is_better_gives_the_same_probabilities() -> None:
    view = SampleStudy(trials=12).view()
    turned = with_scores(view, {each.number: [-fold.metrics["f1"] for fold in each.folds] for each in view.trials})
    turned = replace(turned, sweep=replace(view.sweep, goal="minimize"))
    higher, lower = certainty_of(view), certainty_of(turned)
    assert higher is not None and lower is not None
    assert (higher.shares, higher.verdict, higher.within_one_error) == (
        lower.shares,
        lower.verdict,
        lower.within_one_error,
    )


def test_pruned_trials_do_not_count() -> None:
    found = certainty_of(SampleStudy(trials=12, pruned=frozenset({3, 4})).view())
    assert found is not None and found.trials == 10


def test_the_winner_of_filters_is_compared_with_the_best() -> None:
    view = SampleStudy(trials=12).view()
    other = next(each.number for each in view.trials if each.number != view.winner)
    found = certainty_of(view, other)
    assert found is not None and found.runner_up is not None
    assert (found.winner, found.runner_up.trial, found.runner_up.estimate < 0) == (other, view.winner, True)


def test_the_lead_over_the_champion_of_the_same_study_is_shown() -> None:
    view = SampleStudy(trials=12).view()
    held = next(each.number for each in view.trials if each.number != view.winner)
    found = certainty_of(replace(view, champion=Champion("cells", "1", trial=held)))
    assert found is not None and found.champion is not None and found.champion.trial == held
    assert certainty_of(replace(view, champion=Champion("cells", "1", trial=view.winner))).champion is None  # type: ignore[union-attr]


def test_a_winner_with_the_worst_holdout_of_its_refits_is_told() -> None:
    view = SampleStudy(trials=12).view()
    assert view.winner is not None
    refits = [each.number for each in view.trials if each.holdout]
    worse = with_holdouts(view, {number: 0.95 if number == view.winner else 0.97 for number in refits})
    found = certainty_of(worse)
    assert found is not None
    assert found.alarms == (
        f"On the holdout, trial {view.winner} is the worst of the 3 refitted trials: f1 0.9500, the best has 0.9700.",
    )


def test_a_holdout_far_below_the_folds_is_told_and_one_within_chance_is_not() -> None:
    view = SampleStudy(trials=12).view()
    assert view.winner is not None
    mean = next(each.value for each in view.trials if each.number == view.winner)
    assert mean is not None
    alarms = [certainty_of(with_holdouts(view, {view.winner: mean - gap})).alarms for gap in (0.01, 0.3)]  # type: ignore[union-attr]
    assert [len(each) for each in alarms] == [0, 1]
    assert alarms[1][0].startswith("The holdout is far below the cross-validation: f1 ")


def test_more_configurations_than_the_folds_can_rank_are_told() -> None:
    random = np.random.default_rng(2)
    view = SampleStudy(trials=40).view()
    flat = with_scores(view, {each.number: random.normal(0.9, 0.02, 5).tolist() for each in view.trials})
    found = certainty_of(replace(flat, winner=max(flat.trials, key=lambda each: each.value or 0.0).number))
    assert found is not None
    assert found.noise > 0.5
    assert found.alarms[-1].startswith("More configurations than the folds can rank: ")
    assert "with probability 0." in found.verdict and "within one standard error" in found.verdict


def with_scores(view: StudyView, scores: dict[int, list[float]]) -> StudyView:
    """The same study with other scores on the folds, and no holdout."""

    def fold(record: FoldRecord, value: float) -> FoldRecord:
        return replace(record, metrics={"f1": value})

    trials = tuple(
        replace(
            each,
            folds=tuple(fold(one, value) for one, value in zip(each.folds, scores[each.number], strict=True)),
            value=float(np.mean(scores[each.number])),
            holdout={},
        )
        for each in view.trials
    )
    return replace(view, trials=trials)


def with_holdouts(view: StudyView, scores: dict[int, float]) -> StudyView:
    """The same study with these scores on the holdout."""
    trials = (
        replace(each, holdout={"f1": scores[each.number]} if each.number in scores else {}) for each in view.trials
    )
    return replace(view, trials=tuple(trials))

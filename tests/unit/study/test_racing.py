"""Racing of folds: which trials stop, which never do, and how good an estimate of their end is."""

from __future__ import annotations

import math
import random
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

import winnow
from winnow.study.racing import FINISHED_TRIALS, reference

SCORES = st.floats(-100, 100, allow_nan=False).map(lambda score: round(score, 3))
FINISHED = st.integers(2, 8).flatmap(
    lambda folds: st.lists(st.lists(SCORES, min_size=folds, max_size=folds), min_size=3, max_size=8)
)


def chance(
    scores: Mapping[int, float] | Sequence[float], finished: Sequence[Sequence[float]], goal: str = "maximize"
) -> float | None:
    known = reference(dict(enumerate(finished)), "maximize" if goal == "maximize" else "minimize")
    by_fold = scores if isinstance(scores, Mapping) else dict(enumerate(scores))
    return None if known is None else known.chance(by_fold)


def test_the_chance_is_that_of_a_two_way_layout() -> None:
    known = reference({0: [4.1, 1.9], 1: [3.0, 1.0], 2: [1.9, 0.1]}, "maximize")
    assert known is not None
    # Fold means 3 and 1; residuals ±0.1, 0 and ±0.1 with two degrees of freedom: a variance of 0.02.
    spread = math.sqrt(0.02 * (1 + 1 / 3) * (2 - 1) / (2 * 1))
    assert known.finished.chance({0: 2.5}, 3.0, 1.0) == pytest.approx(stats.t.cdf((1.5 - 3.0) / spread, 2))


def test_the_better_half_is_asked_too_and_the_larger_probability_counts() -> None:
    known = reference({0: [4.1, 1.9], 1: [3.0, 1.0], 2: [1.9, 0.1]}, "maximize")
    assert known is not None
    assert (known.better.fold_means, known.better.trials) == ((3.55, 1.45), 2)
    chances = [layout.chance({0: 2.5}, known.best, known.sign) for layout in (known.finished, known.better)]
    assert known.chance({0: 2.5}) == max(chances)


def test_a_trial_is_expected_to_end_where_others_ended_that_scored_the_same() -> None:
    known = reference({0: [0.9, 0.5, 0.7], 1: [0.7, 0.3, 0.5], 2: [0.8, 0.4, 0.6]}, "maximize")
    assert known is not None
    assert known.finished.estimate({1: 0.4}) == pytest.approx(0.6)
    assert known.finished.estimate({0: 0.6, 2: 0.4}) == pytest.approx(0.4)


@given(FINISHED, st.integers(0, 2**32))
def test_the_order_of_trials_does_not_matter(finished: list[list[float]], seed: int) -> None:
    scores, numbers = finished[0][:1], list(range(len(finished)))
    random.Random(seed).shuffle(numbers)
    shuffled = reference({number: finished[number] for number in numbers}, "maximize")
    ordered = reference(dict(enumerate(finished)), "maximize")
    assert shuffled is not None
    assert ordered is not None
    assert shuffled.incumbent == ordered.incumbent
    assert shuffled.chance({0: scores[0]}) == pytest.approx(ordered.chance({0: scores[0]}), abs=1e-6)


@given(FINISHED, SCORES)
def test_maximize_and_minimize_are_mirror_images(finished: list[list[float]], score: float) -> None:
    mirrored = [[-score for score in scores] for scores in finished]
    assert chance([score], finished) == chance([-score], mirrored, "minimize")


@given(FINISHED, SCORES, st.floats(0.001, 1000), st.floats(-100, 100))
def test_the_unit_of_the_scores_does_not_matter(
    finished: list[list[float]], score: float, factor: float, shift: float
) -> None:
    known = reference(dict(enumerate(finished)), "maximize")
    assume(known is not None and min(known.finished.variance, known.better.variance) > 1e-3)
    scaled = [[factor * score + shift for score in scores] for scores in finished]
    assert chance([factor * score + shift], scaled) == pytest.approx(chance([score], finished), abs=1e-4)


@given(st.lists(st.integers(-50, 50), min_size=4, max_size=12), st.lists(st.integers(-50, 50), min_size=2, max_size=6))
def test_without_noise_the_best_trial_never_stops(trials: list[int], folds: list[int]) -> None:
    matrix = [[(trial + fold) / 7 for fold in folds] for trial in trials]
    study = [scores for scores in matrix if scores is not matrix[trials.index(max(trials))]]
    best = matrix[trials.index(max(trials))]
    for finished in range(FINISHED_TRIALS, len(study) + 1):
        for known in range(1, len(folds)):
            found = chance(best[:known], study[:finished])
            assert found is None or found >= 0.5


def test_scores_that_do_not_compare_stop_nothing() -> None:
    finished = [[0.9, 0.8, 0.7], [0.8, 0.75, 0.6], [0.5, 0.4, 0.45]]
    assert chance([], finished) is None
    assert chance([0.1, 0.1, 0.1], finished) is None
    assert chance([math.nan], finished) is None
    assert chance([-math.inf], finished) is None
    assert chance([0.1], finished[:2]) is None
    assert chance([0.1], [*finished[:2], [0.5, math.nan, 0.5]]) is None
    assert chance([0.1], [[1.0, 1.0, 1.0]] * 3) == 1.0
    assert chance([0.1], [[0.1 + 0.2, 0.3, 0.1 * 3]] * 3) == 1.0
    assert chance([0.1], [[0.5]] * 3) is None


def test_of_equal_trials_the_first_is_the_incumbent() -> None:
    known = reference({4: [1.0, 2.0], 2: [2.0, 1.0], 7: [0.0, 0.5]}, "maximize")
    assert known is not None
    assert known.incumbent == 2


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_an_equal_of_the_best_trial_rarely_stops(seed: int) -> None:
    rng = random.Random(seed)
    stopped = 0
    for _ in range(40):
        finished = [[rng.gauss(0, 1) for _ in range(5)] for _ in range(4)]
        best = max(map(statistics.fmean, finished))
        equal = [rng.gauss(0, 1) for _ in range(5)]
        equal = [score + best - statistics.fmean(equal) + 1e-9 for score in equal]
        found = chance(equal[:1], finished)
        stopped += found is not None and found < 0.01
    assert stopped <= 4


def cross_validate(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -1, 1)
    rng = random.Random(trial.number)
    scores = []
    for fold in range(5):
        scores.append(-(x**2) + 0.1 * fold + rng.gauss(0, 0.01))
        trial.report(scores[-1], fold)
        if trial.should_prune():
            raise optuna.TrialPruned
    return statistics.fmean(scores)


def test_any_optuna_study_races_and_keeps_its_winner() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies = [
        optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
        for pruner in (optuna.pruners.NopPruner(), winnow.FoldRacing())
    ]
    for study in studies:
        study.optimize(cross_validate, n_trials=30)
    whole, raced = studies
    assert raced.best_trial.number == whole.best_trial.number
    assert [trial.state.name for trial in raced.trials[:3]] == ["COMPLETE"] * 3
    assert sum(len(trial.intermediate_values) for trial in raced.trials) < 0.6 * 30 * 5


def test_a_threshold_of_no_use_is_refused() -> None:
    for threshold in (0, 0.5, -1, math.nan):
        with pytest.raises(ValueError, match="expected more than 0 and less than"):
            winnow.FoldRacing(threshold)


def test_the_documented_objective_races() -> None:
    text = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import optuna.*?)```", text, flags=re.DOTALL)
    ran: dict[str, Any] = {}
    exec(example, ran)
    study = ran["study"]
    assert {trial.state.name for trial in study.trials} == {"COMPLETE", "PRUNED"}
    assert study.best_trial.state.name == "COMPLETE"

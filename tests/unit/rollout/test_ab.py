"""A/B tests: how often they name a winner, how often a wrong one, and what their verdicts say."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.finding import Result
from winnow.rollout import ab
from winnow.rollout.conditions import Measured
from winnow.rollout.plan import Condition, Step
from winnow.rollout.sizes import outcomes_to_find
from winnow.rollout.verdict import judge
from winnow.routing import OutcomeCounts, RouterReport

RUNS, PER_LOOK, ALPHA = 500, 100, 0.05
CONDITION = Condition("outcomes", margin=0.02, metric="accuracy", paths=("log.jsonl",))
STEP = Step(weight=0.5, conditions=(CONDITION,), alpha=ALPHA)
EMPTY = RouterReport("r", 1)


def _looks(rng: np.random.Generator, share: float, per_look: int, looks: int) -> tuple[np.ndarray, ...]:
    """Outcomes, the sum of their values and of the squares: [looks] and twice [runs, looks]."""
    right = rng.binomial(per_look, share, size=(RUNS, looks)).cumsum(axis=1)
    return per_look * np.arange(1, looks + 1), right, right


def _ends(
    rng: np.random.Generator, shares: tuple[float, float], weight: float, looks: int, effect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of each run, whether the candidate has won and whether it has lost, by what came first."""
    mine = round(PER_LOOK * weight)
    candidate, stable = _looks(rng, shares[0], mine, looks), _looks(rng, shares[1], PER_LOOK - mine, looks)
    found = ab.compare(candidate, stable, "accuracy", min_effect=effect, alpha=ALPHA)
    won, lost = (np.where(each.any(axis=1), each.argmax(axis=1), looks) for each in (found.has_won, found.has_lost))
    return won < lost, lost < won


@pytest.mark.parametrize("effect", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("accuracy", [0.85, 0.9, 0.95])
def test_five_points_of_accuracy_are_found_with_4000_outcomes(accuracy: float, effect: float) -> None:
    won, _lost = _ends(np.random.default_rng(1), (accuracy + 0.05, accuracy), 0.5, 40, effect)
    assert won.mean() >= 0.9


@pytest.mark.parametrize("accuracy", [0.5, 0.85, 0.95, 0.99])
@pytest.mark.parametrize("weight", [0.1, 0.5])
@pytest.mark.parametrize("effect", [0.01, 0.05])
def test_equal_revisions_have_no_winner_at_any_of_400_looks(accuracy: float, weight: float, effect: float) -> None:
    rng, looks = np.random.default_rng(2), 400
    mine = round(PER_LOOK * weight)
    candidate, stable = _looks(rng, accuracy, mine, looks), _looks(rng, accuracy, PER_LOOK - mine, looks)
    found = ab.compare(candidate, stable, "accuracy", min_effect=effect, alpha=ALPHA)
    is_called_better, is_called_worse = found.has_won, found.interval[1] < 0
    assert (is_called_better | is_called_worse).any(axis=1).mean() <= ALPHA


def test_a_z_test_that_is_looked_at_as_often_names_a_winner_every_third_time() -> None:
    rng = np.random.default_rng(3)
    (n, mine, _), (m, others, _) = _looks(rng, 0.85, 50, 400), _looks(rng, 0.85, 50, 400)
    shares = mine / n, others / m
    z = (shares[0] - shares[1]) / np.sqrt(2 * 0.85 * 0.15 / n)
    assert (np.abs(z) > 1.96).any(axis=1).mean() > 0.3


def test_a_candidate_that_is_better_by_the_minimal_effect_seldom_loses() -> None:
    won, lost = _ends(np.random.default_rng(4), (0.9, 0.85), 0.5, 400, 0.05)
    assert lost.mean() <= ALPHA / 2
    assert won.mean() >= 0.97


def test_an_equal_candidate_loses_in_the_end() -> None:
    _won, lost = _ends(np.random.default_rng(5), (0.85, 0.85), 0.5, 400, 0.05)
    assert lost.mean() >= 0.9


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_skewed_values_have_no_false_winner(weight: float) -> None:
    rng, looks = np.random.default_rng(6), 60

    def sums(per_look: int) -> tuple[np.ndarray, ...]:
        values = rng.lognormal(0, 1, size=(RUNS, looks, per_look))
        return per_look * np.arange(1, looks + 1), values.sum(axis=2).cumsum(axis=1), (values**2).sum(axis=2).cumsum(1)

    mine = round(PER_LOOK * weight)
    found = ab.compare(sums(mine), sums(PER_LOOK - mine), "value", min_effect=0.1, alpha=ALPHA)
    is_called = found.has_won | (found.interval[1] < 0) | (found.interval[0] > 0)
    assert is_called.any(axis=1).mean() <= ALPHA


def test_right_shares_are_seldom_called_a_mismatch_and_wrong_ones_soon_are() -> None:
    rng = np.random.default_rng(7)
    right, wrong = (rng.binomial(100, share, size=(RUNS, 400)).cumsum(axis=1) for share in (0.5, 0.47))
    n = 100 * np.arange(1, 401)
    assert not ab.mismatch(100, 300, 0.5)  # 200 lines of the candidate may still be on their way
    assert ab.mismatch(right, n - right, 0.5).any(axis=1).mean() <= 0.004
    assert ab.mismatch(wrong, n - wrong, 0.5)[:, 299].mean() >= 0.9


def test_the_planned_number_of_outcomes_finds_the_effect_in_four_of_five_tests() -> None:
    needed = outcomes_to_find(0.05, np.sqrt(0.875 * 0.125), 0.5, ALPHA)
    assert needed is not None
    won, _lost = _ends(np.random.default_rng(8), (0.9, 0.85), 0.5, needed // PER_LOOK, 0.05)
    assert 0.75 <= won.mean() <= 0.95


def _counts(revision: int, right: int, outcomes: int, requests: int | None = None) -> OutcomeCounts:
    return OutcomeCounts(revision, outcomes if requests is None else requests, outcomes, right, right)


def _judged(stable: OutcomeCounts, candidate: OutcomeCounts, step: Step = STEP):
    return judge(0, step, EMPTY, {0: Measured(None, outcomes=(stable, candidate))})


def test_the_winner_passes_with_one_sentence() -> None:
    verdict = _judged(_counts(1, 1700, 2000), _counts(2, 1840, 2000))
    (finding,) = verdict.findings
    assert (verdict.result, finding.condition, finding.n, finding.margin) == (Result.PASS, "accuracy", 4000, 0.02)
    assert finding.estimate == pytest.approx(0.07)
    assert verdict.reason == (
        "the candidate wins: accuracy is 0.92 on 2000 outcomes of the candidate and 0.85 on 2000 of the stable "
        "revision, a difference between +0.0373 and +0.103"
    )


def test_a_worse_candidate_fails() -> None:
    verdict = _judged(_counts(1, 1840, 2000), _counts(2, 1700, 2000))
    assert (verdict.result, verdict.is_void) == (Result.FAIL, False)
    assert verdict.reason.startswith("the candidate is not better by 0.02: accuracy is 0.85 on 2000 outcomes")


def test_fewer_errors_win_where_less_is_better() -> None:
    step = Step(weight=0.5, conditions=(Condition("outcomes", margin=0.1, metric="absolute_error"),), alpha=ALPHA)
    stable = OutcomeCounts(1, 2000, 2000, 2000.0, 4000.0)
    candidate = OutcomeCounts(2, 2000, 2000, 1600.0, 3200.0)
    assert [_judged(*each, step).result for each in ((stable, candidate), (candidate, stable))] == [
        Result.PASS,
        Result.FAIL,
    ]


@pytest.mark.parametrize(
    ("stable", "candidate", "reason"),
    [
        (_counts(1, 40, 40), _counts(2, 20, 40), "a verdict takes 50 of each"),
        (_counts(1, 340, 400), _counts(2, 344, 400), "no winner yet: accuracy is 0.86 on 400 outcomes"),
    ],
)
def test_few_outcomes_are_not_enough(stable: OutcomeCounts, candidate: OutcomeCounts, reason: str) -> None:
    verdict = _judged(stable, candidate)
    assert verdict.result is Result.NOT_ENOUGH_DATA
    assert reason in verdict.reason


def test_outcomes_that_cannot_be_read_are_not_enough() -> None:
    verdict = judge(0, STEP, EMPTY, {0: Measured(None, "log.jsonl: no such file")})
    assert (verdict.result, verdict.reason) == (Result.NOT_ENOUGH_DATA, "accuracy: log.jsonl: no such file")


@pytest.mark.parametrize(
    ("stable", "candidate", "what"),
    [
        (_counts(1, 850, 1000, 6000), _counts(2, 900, 1000, 5000), "45.45% of 11000 requests"),
        (_counts(1, 1700, 2000, 5000), _counts(2, 1000, 1200, 5000), "37.50% of 3200 outcomes"),
    ],
)
def test_a_sample_ratio_mismatch_voids_the_test(stable: OutcomeCounts, candidate: OutcomeCounts, what: str) -> None:
    verdict = _judged(stable, candidate)
    assert (verdict.result, verdict.is_void, verdict.findings[0].condition) == (Result.FAIL, True, "sample_ratio")
    assert verdict.reason.startswith(f"sample-ratio mismatch: the candidate has {what}, and the route gives it 50.00%")

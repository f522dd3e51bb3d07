"""Tests that may be looked at any time: how often they are wrong, and how soon they are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from winnow import statistics

ROLLOUTS, LOOKS, REQUESTS = 500, 100, 100
"""Simulated rollouts, the looks at each, and the requests between two looks."""

ALPHA = 0.05


def _counts(rng: np.random.Generator, rate: float, per_look: int = REQUESTS) -> np.ndarray:
    """Cumulative numbers of errors at each look: [rollouts, looks]."""
    return rng.binomial(per_look, rate, size=(ROLLOUTS, LOOKS)).cumsum(axis=1)


def _share_that_ever(is_rejected: np.ndarray) -> float:
    return float(is_rejected.any(axis=1).mean())


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.01, 0.2])
@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
def test_equal_revisions_are_seldom_told_apart_by_their_errors(rate: float, weight: float) -> None:
    rng = np.random.default_rng(1)
    candidate = max(round(weight * REQUESTS), 1)
    n = candidate * np.arange(1, LOOKS + 1)
    others = (REQUESTS - candidate) * np.arange(1, LOOKS + 1)
    mine, theirs = _counts(rng, rate, candidate), _counts(rng, rate, REQUESTS - candidate)
    log_e = statistics.log_more_errors(mine, n, theirs, others)
    assert _share_that_ever(log_e >= -math.log(ALPHA)) <= ALPHA


def test_a_z_test_that_is_looked_at_as_often_is_wrong_every_third_time() -> None:
    rng = np.random.default_rng(2)
    n = REQUESTS / 2 * np.arange(1, LOOKS + 1)
    mine, theirs = _counts(rng, 0.05, REQUESTS // 2), _counts(rng, 0.05, REQUESTS // 2)
    pooled = (mine + theirs) / (2 * n)
    z = (mine / n - theirs / n) / np.sqrt(np.maximum(2 * pooled * (1 - pooled) / n, 1e-12))
    assert _share_that_ever(np.abs(z) >= norm.ppf(1 - ALPHA / 2)) > 0.25


def test_three_times_as_many_errors_are_found_within_about_1200_requests() -> None:
    rng = np.random.default_rng(3)
    n = 10 * np.arange(1, 1001)
    mine = rng.binomial(10, 0.03, size=(ROLLOUTS, 1000)).cumsum(axis=1)
    theirs = rng.binomial(10, 0.01, size=(ROLLOUTS, 1000)).cumsum(axis=1)
    found = statistics.log_more_errors(mine, n, theirs, n) >= -math.log(ALPHA)
    assert found.any(axis=1).all()
    assert np.median(2 * n[found.argmax(axis=1)]) <= 1300


def test_two_percent_of_flips_are_found_within_2000_comparisons_where_half_a_percent_is_allowed() -> None:
    rng = np.random.default_rng(4)
    n = 20 * np.arange(1, 101)
    flips = rng.binomial(20, 0.02, size=(ROLLOUTS, 100)).cumsum(axis=1)
    assert _share_that_ever(statistics.log_above(flips, n, 0.005) >= -math.log(ALPHA)) >= 0.95


@pytest.mark.parametrize("share", [0.005, 0.05, 0.5])
def test_a_share_stays_within_its_interval_at_all_looks(share: float) -> None:
    rng = np.random.default_rng(5)
    n = REQUESTS * np.arange(1, LOOKS + 1)
    few = slice(0, 200), slice(0, None, 3)
    low, high = statistics.share_interval(_counts(rng, share)[few], n[few[1]], ALPHA)
    assert (_share_that_ever(low > share) <= ALPHA, _share_that_ever(high < share) <= ALPHA) == (True, True)


def test_a_candidate_without_errors_passes_within_one_point_after_about_460_requests() -> None:
    n = np.arange(1, 2000)
    passes = statistics.log_below(0, n, 0.01) >= -math.log(0.01)
    assert math.log(0.01) / math.log(0.99) <= n[passes.argmax()] <= 500


def test_a_pass_is_seldom_given_to_a_candidate_that_is_a_point_worse() -> None:
    rng = np.random.default_rng(6)
    n = REQUESTS * np.arange(1, LOOKS + 1)
    mine, theirs = _counts(rng, 0.03), _counts(rng, 0.02)
    few = slice(0, 200), slice(0, None, 3)
    _low, high = statistics.difference_interval(mine[few], n[few[1]], theirs[few], n[few[1]], ALPHA)
    assert _share_that_ever(high <= 0.01) <= ALPHA


def test_a_quantile_lies_between_its_bounds_at_all_looks() -> None:
    rng = np.random.default_rng(7)
    bounds = np.geomspace(1e-3, 1.0, 30)
    true = float(np.exp(norm.ppf(0.9) * 0.5 + math.log(0.01)))
    values = np.exp(rng.normal(math.log(0.01), 0.5, size=(ROLLOUTS, 40, 50)))
    bins = np.apply_along_axis(lambda row: np.bincount(np.searchsorted(bounds, row), minlength=31), 2, values)
    last_below, first_above = statistics.quantile_bounds(bins.cumsum(axis=1), 0.9, ALPHA)
    lower = np.where(last_below >= 0, bounds[np.maximum(last_below, 0)], 0.0)
    upper = np.where(first_above < 30, bounds[np.minimum(first_above, 29)], np.inf)
    assert (_share_that_ever(lower > true) <= ALPHA, _share_that_ever(upper < true) <= ALPHA) == (True, True)
    assert np.median(upper[:, -1] / lower[:, -1]) < 2


def test_equal_means_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(8)
    n = REQUESTS * np.arange(1, LOOKS + 1)
    first, other = (rng.exponential(1.0, size=(ROLLOUTS, LOOKS, REQUESTS)) for _ in range(2))
    moments = [(n, x.sum(axis=2).cumsum(axis=1), (x**2).sum(axis=2).cumsum(axis=1)) for x in (first, other)]
    found = statistics.mean_difference(moments[0], moments[1], alpha=ALPHA, scale=0.1)
    assert _share_that_ever(found.log_e >= -math.log(ALPHA)) <= ALPHA
    assert _share_that_ever((found.interval[0] > 0) | (found.interval[1] < 0)) <= ALPHA


def test_different_means_are_found() -> None:
    rng = np.random.default_rng(9)
    n = REQUESTS * np.arange(1, LOOKS + 1)
    first, other = (rng.exponential(mean, size=(ROLLOUTS, LOOKS, REQUESTS)) for mean in (1.1, 1.0))
    moments = [(n, x.sum(axis=2).cumsum(axis=1), (x**2).sum(axis=2).cumsum(axis=1)) for x in (first, other)]
    found = statistics.mean_difference(moments[0], moments[1], alpha=ALPHA, scale=0.1)
    assert _share_that_ever(found.log_e >= -math.log(ALPHA)) >= 0.95
    assert found.estimate[:, -1].mean() == pytest.approx(0.1, abs=0.01)


WINDOWS, LOOKS_AT_WINDOW, LOSSES = 30, 4, 25
"""Daily windows of a month, the looks in each, and the losses between two looks."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
LOSSES_OF_MEAN_1: dict[str, Draw] = {
    "a share of 0.05": lambda rng, shape: 20.0 * (rng.random(shape) < 0.05),
    "a share of 0.5": lambda rng, shape: 2.0 * (rng.random(shape) < 0.5),
    "exponential": lambda rng, shape: rng.exponential(1.0, shape),
    "a heavy tail": lambda rng, shape: rng.lognormal(-(1.5**2) / 2, 1.5, shape),
}


def _log_evidence(draw: Draw, months: int, mean: float) -> Iterator[np.ndarray]:
    """At each look of a month, the logarithm of the e-detector: [months]."""
    rng = np.random.default_rng(5)
    ended = np.empty((months, 0, len(statistics.BETS)))
    for _ in range(WINDOWS):
        window = np.zeros((months, 1, len(statistics.BETS)))
        for _ in range(LOOKS_AT_WINDOW):
            window += statistics.log_excess(draw(rng, (months, 1, LOSSES)), mean).sum(axis=2)
            yield logsumexp(statistics.log_since(np.concatenate([ended, window], axis=1)), axis=1)
        ended = np.concatenate([ended, window], axis=1)


@pytest.mark.parametrize("name", LOSSES_OF_MEAN_1)
def test_a_mean_that_is_just_not_too_large_alarms_once_a_month_at_most_though_it_is_looked_at_120_times(
    name: str,
) -> None:
    months, alarms, is_open = 400, 0, np.zeros(400, dtype=bool)
    for look, log_e in enumerate(_log_evidence(LOSSES_OF_MEAN_1[name], months, 1.0)):
        starts = look // LOOKS_AT_WINDOW + 1
        is_now = log_e >= np.where(is_open, math.log(starts), math.log(WINDOWS / 1.0))
        alarms += int((is_now & ~is_open).sum())
        is_open = is_now
    assert 0.2 < alarms / months < 1.0


def test_a_mean_below_the_limit_hardly_ever_alarms() -> None:
    looks = np.stack(list(_log_evidence(LOSSES_OF_MEAN_1["exponential"], 400, 1.1)))
    assert (looks >= math.log(WINDOWS / 1.0)).any(axis=0).mean() < 0.1


@pytest.mark.parametrize(("times", "within"), [(1.5, 400), (2.0, 150), (4.0, 50)])
def test_a_larger_mean_is_found_soon_though_3000_good_losses_came_before_it(times: float, within: int) -> None:
    rng, months = np.random.default_rng(6), 200
    good = statistics.log_excess(rng.exponential(1.0, (months, WINDOWS, 100)), 1.1).sum(axis=2)
    worse = statistics.log_excess(rng.exponential(times, (months, within)), 1.1).cumsum(axis=1)
    found = [
        logsumexp(statistics.log_since(np.concatenate([good, worse[:, n : n + 1]], axis=1)), axis=1)
        >= math.log(WINDOWS / 0.2)
        for n in range(0, within, 5)
    ]
    assert np.any(found, axis=0).mean() > 0.9

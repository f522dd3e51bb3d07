"""How much traffic a verdict takes. Computed from expected counts, so that about half of all rollouts need less."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.special import ndtr, ndtri  # `scipy.stats` has the same by another second of imports

from winnow.rollout.ab import SCALE
from winnow.rollout.plan import OF_ROUTERS, Condition, Step
from winnow.statistics import difference_interval, log_below, mean_difference

SIZES = np.unique(np.geomspace(10, 1e8, 300).astype(np.int64))
"""The numbers of requests that are tried."""

POWER = 0.8
"""Probability that the planned numbers of outcomes and of rows find a difference."""

SPREAD = 0.5
"""Standard deviation of the logarithm of latencies, where none are known: p99 is 3.2 times the median."""


def to_pass(condition: Condition, step: Step, error_rate: float, flip_rate: float) -> int | None:
    """How many requests of the candidate, or comparisons, an equally good candidate needs to pass a condition.

    Args:
        error_rate: of both revisions.
        flip_rate: share of the compared predictions that differ.

    Returns:
        The smallest number of `SIZES` that suffices if the data are as expected; None where none does.
    """
    if condition.type == "errors":
        return errors_to_pass(step.weight or 0.5, error_rate, condition.margin, step.alpha)
    if condition.type == "latency":
        slow = ndtr(-ndtri(condition.quantile) - math.log1p(condition.margin) / SPREAD)
        return share_to_pass(float(slow), 1 - condition.quantile, step.alpha / 2)
    if condition.type == "agreement":
        return share_to_pass(flip_rate, condition.max_flips, step.alpha)
    return 0


@functools.lru_cache(maxsize=256)
def errors_to_pass(weight: float, rate: float, margin: float, alpha: float) -> int | None:
    """How many of the candidate's requests show that it errs at most `margin` more often, if both err at `rate`.

    It takes some 50 ms, so that callers that ask often round what they pass. `weight`: the candidate's share of the
    requests.
    """
    others = SIZES * (1 - weight) / weight
    _low, high = difference_interval(rate * SIZES, SIZES, rate * others, others, alpha)
    return _first(high <= margin)


def outcomes_to_find(effect: float, spread: float, weight: float, alpha: float) -> int | None:
    """How many outcomes of both revisions show a difference of `effect` in four of five A/B tests.

    So many that the expected difference is beyond the bound of `ab.compare` by 0.84 standard errors. Looking at every
    outcome makes it somewhat fewer.

    Args:
        effect: of the means; also the test's minimal effect.
        spread: standard deviation of the values.
        weight: the candidate's share of the outcomes.
    """
    mine, others = weight * SIZES, (1 - weight) * SIZES
    first = (mine, mine * effect, mine * effect**2 + (mine - 1) * spread**2)
    other = (others, 0 * others, (others - 1) * spread**2)
    low, _high = mean_difference(first, other, alpha=alpha, scale=SCALE * effect).interval
    return _first(low >= ndtri(POWER) * spread * np.sqrt(1 / mine + 1 / others))


def pairs_to_find(effect: float, differing: float, alpha: float = 0.05) -> int:
    """How many rows that both models predict show a difference of accuracy in four of five tests.

    Of a one-sided test at `alpha`, as the exact McNemar test. Source: Connor: "Sample size for testing differences in
    proportions for the paired-sample design", 1987.

    Args:
        effect: the difference of accuracy.
        differing: share of the rows on which exactly one of the models is right.
    """
    deviations = float(ndtri(1 - alpha) + ndtri(POWER))
    return math.ceil(deviations**2 * (differing - effect**2) / effect**2)


def share_to_pass(rate: float, most: float, alpha: float) -> int | None:
    """How many trials show a probability below `most`, if it is `rate`."""
    return _first(log_below(rate * SIZES, SIZES, most) >= -math.log(alpha)) if rate < most else None


def _first(is_enough: np.ndarray) -> int | None:
    return int(SIZES[is_enough.argmax()]) if is_enough.any() else None


def judged_by_counts(step: Step) -> tuple[Condition, ...]:
    """The conditions whose verdict takes traffic."""
    return tuple(each for each in step.conditions if each.type in OF_ROUTERS)

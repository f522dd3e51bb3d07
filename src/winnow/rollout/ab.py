"""The verdict of an A/B test: which of two revisions has the better outcomes. Pure.

The difference of the metric's means is judged by `statistics.mean_difference`, which holds at every look. Both
revisions have to be given the shares of requests that the route says, or their outcomes cannot be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from winnow import statistics
from winnow.finding import Finding, Result
from winnow.rollout.plan import Condition
from winnow.routing import OutcomeCounts

LOWER_IS_BETTER = ("absolute_error", "squared_error")

LEAST_OUTCOMES = 50
"""Of each revision, before there is a verdict: the test takes means for normally distributed."""

SCALE = 2.0
"""The differences that are expected (τ), in minimal effects: with it, differences of one to five minimal effects are
found with at most a fifth more outcomes than with the best τ for each."""

LATE = 200
"""How many requests of either revision may not have reached the log yet while those of the other one have."""

MISMATCH = "sample_ratio"
"""The name of a finding that says that the shares are wrong."""

MISMATCH_ALPHA = 0.001
"""Probability that shares which are right are called wrong, at all looks together. As small as usual in experiments
(Fabijan et al.: "Diagnosing sample ratio mismatch in online controlled experiments", 2019), since an alarm ends one."""

RULE = "normal-mixture confidence sequence for the difference of means"

Sums = tuple[ArrayLike, ArrayLike, ArrayLike]
"""How many outcomes there are, the sum of the metric's values and that of their squares: numbers or arrays."""


@dataclass(frozen=True)
class Comparison:
    """What outcomes say at one look; arrays if the sums are.

    Attributes:
        interval: contains the difference of the means, candidate minus stable, with 1 - α at all looks together.
        has_won: the candidate is better.
        has_lost: the candidate is not better by the minimal effect.
    """

    interval: tuple[NDArray[np.float64], NDArray[np.float64]]
    has_won: NDArray[np.bool_]
    has_lost: NDArray[np.bool_]


def compare(candidate: Sums, stable: Sums, metric: str, *, min_effect: float, alpha: float) -> Comparison:
    """Compare the outcomes of two revisions.

    A candidate that is shown to be better, but by less than the minimal effect, loses. Winning and losing wrongly have
    a probability of α / 2 at most each, at all looks together.

    Values are mostly skewed (few errors), and the means of few of them then seem more certain than they are where they
    are good. So neither revision's variance counts for less than that of both together. Where all values are 0 or 1,
    each revision is also counted one more of either (Agresti and Caffo: "Simple and effective confidence intervals for
    proportions and differences of proportions", 2000).
    """
    mine, others = _careful(candidate, stable), _careful(stable, candidate)
    low, high = statistics.mean_difference(mine, others, alpha=alpha, scale=SCALE * min_effect).interval
    least, most = (-high, -low) if metric in LOWER_IS_BETTER else (low, high)
    is_enough = np.minimum(np.asarray(candidate[0]), np.asarray(stable[0])) >= LEAST_OUTCOMES
    has_lost = is_enough & (most < min_effect)
    return Comparison((low, high), is_enough & (least > 0) & ~has_lost, has_lost)


def mismatch(candidate: ArrayLike, stable: ArrayLike, weight: float) -> NDArray[np.bool_]:
    """Whether the candidate has another share of the requests than the route's weight: a sample-ratio mismatch.

    The mean of two e-values, for a larger and for a smaller share, each as in `statistics.log_above`. Collectors bring
    lines of several replicas late by different times, so the candidate's number is first moved towards its share by
    `LATE` at most: no mismatch is reported that these could explain.
    """
    seen = np.asarray(candidate, dtype=np.float64)
    n = seen + np.asarray(stable, dtype=np.float64)
    k = seen + np.clip(weight * n - seen, -LATE, LATE)
    log_e = np.logaddexp(statistics.log_above(k, n, weight), statistics.log_below(k, n, weight)) - math.log(2)
    return np.asarray(log_e >= -math.log(MISMATCH_ALPHA))


def judge(condition: Condition, counts: tuple[OutcomeCounts, OutcomeCounts], weight: float, alpha: float) -> Finding:
    """The verdict by the outcomes of the stable revision and the candidate, in this order.

    It passes where the candidate has won and fails where it has lost. Where either revision's share of the requests, or
    of the outcomes, is not the route's, the finding is called `sample_ratio` and fails: the test itself is broken.

    Args:
        weight: the candidate's share of the requests by its route.
        alpha: of `compare`.
    """
    stable, candidate = counts
    for what, of_candidate, of_stable in (
        ("requests", candidate.requests, stable.requests),
        ("outcomes", candidate.outcomes, stable.outcomes),
    ):
        if mismatch(of_candidate, of_stable, weight):
            return _mismatched(what, of_candidate, of_candidate + of_stable, weight)
    metric, effect, n = condition.metric, condition.margin, stable.outcomes + candidate.outcomes
    if min(stable.outcomes, candidate.outcomes) < LEAST_OUTCOMES:
        said = (
            f"{candidate.outcomes} outcomes of the candidate and {stable.outcomes} of the stable revision, where a "
            f"verdict takes {LEAST_OUTCOMES} of each"
        )
        return Finding(metric, None, (None, None), n, effect, RULE, Result.NOT_ENOUGH_DATA, said)
    found = compare(_sums(candidate), _sums(stable), metric, min_effect=effect, alpha=alpha)
    low, high = (float(each) for each in found.interval)
    mine, others = candidate.total / candidate.outcomes, stable.total / stable.outcomes
    said = (
        f"{metric} is {mine:.4g} on {candidate.outcomes} outcomes of the candidate and {others:.4g} on "
        f"{stable.outcomes} of the stable revision, a difference between {low:+.3g} and {high:+.3g}"
    )
    if found.has_won:
        result, said = Result.PASS, f"the candidate wins: {said}"
    elif found.has_lost:
        result, said = Result.FAIL, f"the candidate is not better by {effect:g}: {said}"
    else:
        result, said = Result.NOT_ENOUGH_DATA, f"no winner yet: {said}"
    return Finding(metric, mine - others, (low, high), n, effect, RULE, result, said)


def _mismatched(what: str, mine: int, n: int, weight: float) -> Finding:
    share, rule = mine / n, "truncated-Beta mixture"
    low, high = (float(each) for each in statistics.share_interval(mine, n, MISMATCH_ALPHA / 2))
    said = (
        f"sample-ratio mismatch: the candidate has {share:.2%} of {n} {what}, and the route gives it {weight:.2%}; "
        "their outcomes cannot be compared"
    )
    return Finding(MISMATCH, share, (low, high), n, weight, rule, Result.FAIL, said)


def _sums(counts: OutcomeCounts) -> Sums:
    return counts.outcomes, counts.total, counts.square_total


def _careful(sums: Sums, others: Sums) -> Sums:
    """Sums whose variance is at least that of both revisions together."""
    (n, total, squares), (m, *rest) = _with_either(sums), _with_either(others)
    mine, other = squares - total**2 / n, rest[1] - rest[0] ** 2 / m
    return n, total, total**2 / n + np.maximum(mine, (mine + other) * (n - 1) / (n + m - 2))


def _with_either(sums: Sums) -> tuple[NDArray[np.float64], ...]:
    """Sums of shares with one more 0 and one more 1; those of other values as they are."""
    n, total, squares = (np.asarray(each, dtype=np.float64) for each in sums)
    further = np.where(total == squares, 1.0, 0.0)
    return n + 2 * further, total + further, squares + further

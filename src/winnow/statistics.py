"""Sequential tests that hold at every look: false alarms stay below α however often the data are looked at.

Every test is an e-value: a non-negative number whose mean is at most 1 where the null hypothesis holds, at every look.
By Ville's inequality it ever reaches 1/α with probability α at most, so that a verdict may be read off at any time
(Ramdas, Grünwald, Vovk, Shafer: "Game-theoretic statistics and safe anytime-valid inference", 2023). Results are
natural logarithms of e-values, so that they do not overflow. Counts may be numbers or arrays, which broadcast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincc, betaln, logsumexp, xlog1py, xlogy

Floats = NDArray[np.float64]

CLOSE_TO_ZERO = 0.1
"""First parameter of the mixture below a share. So small, it puts much of its weight near 0, and a candidate without
any error passes soon: with α = 0.01 and a share of 0.01 after 479 requests, where ln α / ln(1 - share) is 459."""

BISECTIONS = 40

BETS: Floats = np.exp2(-np.arange(1.0, 8.0))
"""Shares of the stake that `log_excess` bets. Small shares find small changes, large ones find large changes soon."""


def log_above(successes: ArrayLike, trials: ArrayLike, share: ArrayLike) -> Floats:
    """Evidence that a probability is above `share`.

    With k successes in n trials, and p0 = `share`, the e-value is the likelihood ratio to p0, mixed over a Beta
    distribution that is truncated to the probabilities above p0:

        E = ∫ p^k (1-p)^(n-k) dπ(p) / (p0^k (1-p0)^(n-k)),   π = Beta(1, (1-p0)/p0) restricted to [p0, 1].

    π makes the excess p/p0 - 1 about exponential with mean 1 for small p0, so that twice and ten times p0 are both
    found soon. For a true probability up to p0 the ratio is a supermartingale for every p of the mixture, and so is
    their mean. Source: Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; the one-sided
    Beta mixture as in Howard, Ramdas, McAuliffe, Sekhon: "Time-uniform, nonparametric, nonasymptotic confidence
    sequences", 2021, section 3.

    Args:
        successes, trials: counts.
        share: between 0 and 1. At 0 or 1 there is no evidence.

    Returns:
        log E, of the broadcast shape.
    """
    k, n, p = (np.asarray(each, dtype=np.float64) for each in (successes, trials, share))
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    b = (1 - inside) / inside
    with np.errstate(divide="ignore"):
        above = np.log(betaincc(1 + k, b + n - k, inside)) - b * np.log1p(-inside)
    mixed = betaln(1 + k, b + n - k) - betaln(1, b) + above
    return np.where((p > 0) & (p < 1), mixed - xlogy(k, inside) - xlog1py(n - k, -inside), 0.0)


def log_below(successes: ArrayLike, trials: ArrayLike, share: ArrayLike) -> Floats:
    """Evidence that a probability is below `share`: as `log_above`, with π = Beta(0.1, 1) restricted to [0, p0].

    Args:
        successes, trials: counts, numbers or arrays that broadcast.
        share: between 0 and 1. At 0 or 1 there is no evidence.

    Returns:
        log E, of the broadcast shape.
    """
    k, n, p = (np.asarray(each, dtype=np.float64) for each in (successes, trials, share))
    inside = np.clip(p, 1e-12, 1 - 1e-12)
    a = CLOSE_TO_ZERO
    with np.errstate(divide="ignore"):
        below = np.log(betainc(a + k, 1 + n - k, inside)) - a * np.log(inside)
    mixed = betaln(a + k, 1 + n - k) - betaln(a, 1) + below
    return np.where((p > 0) & (p < 1), mixed - xlogy(k, inside) - xlog1py(n - k, -inside), 0.0)


def share_interval(successes: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[Floats, Floats]:
    """A confidence sequence for a probability: at all looks together, each bound is wrong with probability α at most.

    The lower bound is the largest probability that `log_above` rejects, the upper one the smallest that `log_below`
    rejects; both are found by bisection. Without trials they are 0 and 1.

    Args:
        successes, trials: counts, numbers or arrays that broadcast.
        alpha: of each bound.

    Returns:
        The lower and the upper bound, each of the broadcast shape.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    estimate, needed = np.divide(k, n, out=np.zeros(k.shape), where=n > 0), -math.log(alpha)
    rejected, kept = np.zeros(k.shape), estimate.copy()
    kept_above, rejected_above = estimate.copy(), np.ones(k.shape)
    for _ in range(BISECTIONS):
        middle = (rejected + kept) / 2
        is_rejected = log_above(k, n, middle) >= needed
        rejected, kept = np.where(is_rejected, middle, rejected), np.where(is_rejected, kept, middle)
        middle = (rejected_above + kept_above) / 2
        is_rejected = log_below(k, n, middle) >= needed
        rejected_above, kept_above = (
            np.where(is_rejected, middle, rejected_above),
            np.where(is_rejected, kept_above, middle),
        )
    return rejected, rejected_above


def log_more_errors(
    errors: ArrayLike, requests: ArrayLike, other_errors: ArrayLike, other_requests: ArrayLike
) -> Floats:
    """Evidence that a revision errs more often than another one.

    Of all errors together, the revision's number is binomial with its share of all requests, if both err equally
    often: `log_above(errors, all errors, share of the requests)`. Neither revision's rate has to be known or constant,
    as both meet the same requests. Source: Lindon and Malek, "Anytime-valid inference for multinomial count data",
    2022. The share is that of the requests so far rather than the route's weight, so that an expired lease or users of
    unequal size do not count as evidence; the test is exact for a constant share.

    Args:
        errors, requests, other_errors, other_requests: counts of the revision and of the other one, numbers or arrays
            that broadcast.

    Returns:
        log E, of the broadcast shape.
    """
    k, n, other_k, other_n = (
        np.asarray(each, dtype=np.float64) for each in (errors, requests, other_errors, other_requests)
    )
    total = n + other_n
    return log_above(k, k + other_k, np.divide(n, total, out=np.zeros(np.shape(total)), where=total > 0))


def difference_interval(
    errors: ArrayLike, requests: ArrayLike, other_errors: ArrayLike, other_requests: ArrayLike, alpha: float
) -> tuple[Floats, Floats]:
    """A confidence sequence for the difference of two probabilities, the first one minus the other.

    From the bounds of both by the union bound: the first one's at 0.9 α, the other's at 0.1 α, as there is mostly less
    traffic on the first one. Each bound is wrong with probability α at most, at all looks together.

    Args:
        errors, requests, other_errors, other_requests: as for `log_more_errors`.
        alpha: of each bound.

    Returns:
        The lower and the upper bound, each of the broadcast shape.
    """
    low, high = share_interval(errors, requests, 0.9 * alpha)
    other_low, other_high = share_interval(other_errors, other_requests, 0.1 * alpha)
    return low - other_high, high - other_low


def quantile_bounds(counts: ArrayLike, quantile: float, alpha: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Between which bounds of a histogram a quantile lies, at all looks together.

    The quantile is above a bound if more than `1 - quantile` of the values exceed it, which `log_above` shows, and
    below it if fewer do, which `log_below` shows. This holds for all bounds at once, as exceedances of a lower bound
    are never fewer: only the two bounds next to the true quantile can be mistaken.

    Args:
        counts: `(..., bounds + 1)`, how many values are in each bin, the last one beyond all bounds.
        alpha: of each of the two results.

    Returns:
        Index of the last bound below the quantile (-1 for none), and of the first one above it (the number of bounds
        for none), each of shape `(...)`.
    """
    values = np.asarray(counts, dtype=np.float64)
    total = values.sum(axis=-1, keepdims=True)
    exceeding = total - np.cumsum(values, axis=-1)[..., :-1]
    needed = -math.log(alpha)
    is_above = log_above(exceeding, total, 1 - quantile) >= needed
    is_below = log_below(exceeding, total, 1 - quantile) >= needed
    return is_above.sum(axis=-1) - 1, is_below.shape[-1] - is_below.sum(axis=-1)


@dataclass(frozen=True)
class MeanDifference:
    """A sequential comparison of two means.

    Attributes:
        log_e: evidence that they differ.
        estimate: the first mean minus the other.
        interval: a confidence sequence for the difference, both bounds together at 1 - α.
    """

    log_e: Floats
    estimate: Floats
    interval: tuple[Floats, Floats]


def mean_difference(first: Any, other: Any, *, alpha: float, scale: float) -> MeanDifference:
    """Compare two means by the normal-mixture sequential probability ratio test.

    With the difference d of the means and its variance v = s₁²/n₁ + s₂²/n₂, and differences from N(0, τ²) expected:

        E = √(v / (v + τ²)) · exp(τ² d² / (2 v (v + τ²))),
        d ± √(v (v + τ²) / τ² · (2 ln(1/α) + ln((v + τ²) / v))).

    Source: Robbins 1970; Johari, Koomen, Pekelis, Walsh: "Always valid inference: continuous monitoring of A/B tests",
    2022, equations 9 and 10. The variances are estimated, so that it holds approximately, from some tens of values on.

    Args:
        first, other: `(n, sum, sum of squares)`, each a number or an array. At least two values each.
        scale: τ, a difference worth finding, fixed before the data are seen.
    """
    mean, variance = _moments(*first)
    other_mean, other_variance = _moments(*other)
    v = np.maximum(variance / np.asarray(first[0]) + other_variance / np.asarray(other[0]), 1e-300)
    d, both = mean - other_mean, v + scale**2
    log_e = 0.5 * np.log(v / both) + scale**2 * d**2 / (2 * v * both)
    half = np.sqrt(v * both / scale**2 * (-2 * math.log(alpha) + np.log(both / v)))
    return MeanDifference(log_e, d, (d - half, d + half))


def _moments(n: ArrayLike, total: ArrayLike, squares: ArrayLike) -> tuple[Floats, Floats]:
    """Mean and variance from sums."""
    count, added = np.asarray(n, dtype=np.float64), np.asarray(total, dtype=np.float64)
    mean = added / count
    return mean, np.maximum(np.asarray(squares, dtype=np.float64) - count * mean**2, 0.0) / (count - 1)


def log_excess(losses: ArrayLike, mean: float) -> Floats:
    """What bets on a mean above `mean` win by each loss.

    A loss x multiplies the stake by 1 + f (x / mean - 1), for each share f of `BETS`. Where the mean of every loss,
    given the earlier ones, is at most `mean`, no bet gains on average, and the product over any losses is an e-value.
    That holds for every distribution: nothing is assumed of the spread, and losses may have no upper bound. Source:
    Waudby-Smith and Ramdas: "Estimating means of bounded random variables by betting", 2024, section 4.

    Args:
        losses: not negative, `(...)`.
        mean: above 0.

    Returns:
        Logarithms, `(..., len(BETS))`, to add up over the losses.
    """
    return np.log1p(BETS * (np.asarray(losses, dtype=np.float64)[..., None] / mean - 1))


def log_since(excess: ArrayLike) -> Floats:
    """Evidence that a mean has been too large since the start of each window.

    The sum of these e-values (`logsumexp` of the result) is an e-detector: for as long as the mean is not too large, it
    reaches a threshold T after at least T windows on average, however often and whenever one looks. An alarm at
    T = windows per month / a is false at most a times a month. The largest one says since when. Source: Shin, Ramdas,
    Rinaldo: "E-detectors: a nonparametric framework for sequential change detection", 2023, section 2 (e-SR).

    Args:
        excess: sums of `log_excess` over each window, `(..., windows, len(BETS))`, in order of time.

    Returns:
        log E by the window that it starts with, `(..., windows)`.
    """
    sums = np.flip(np.cumsum(np.flip(np.asarray(excess, dtype=np.float64), -2), -2), -2)
    return np.asarray(logsumexp(sums, axis=-1) - math.log(len(BETS)))

"""How far two samples of one distribution are apart by chance: thresholds that hold for any counts and any α.

The reference has R rows, the live sample n. Without drift, which of all n + R rows are the live ones is chance, given
how many of them are in each bin. So the live counts l_b are multivariate hypergeometric: as independent binomials
B(t_b, n / (n + R)) with t_b rows of both samples in the bin, given that they add up to n. With this null a statistic S
exceeds s with probability α at most if

    s = min over λ of (log E[exp(λ S)] + log(1 / α)) / λ                              (Chernoff's bound),

and the expectation is a coefficient of a product of polynomials, which needs neither simulation nor a fitted tail. It
holds for few rows, empty bins and rare categories alike, and exceeds what χ² would give by a tenth to a third.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import hypergeom

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
ROUNDING = 1e-12
"""More than the rounding errors of the transform, relative to the largest sum: they only raise a threshold."""


def psi_terms(live: Floats, reference: Floats, n: Any, reference_rows: Any, bins: int) -> Floats:
    """The population stability index, (p - q) ln(p / q), of each bin, with half a row more in every bin.

    Source: Siddiqi, "Credit Risk Scorecards", 2006, chapter 9.
    """
    p, q = (live + 0.5) / (n + bins / 2), (reference + 0.5) / (reference_rows + bins / 2)
    return np.asarray((p - q) * np.log(p / q))


def jensen_shannon_terms(live: Floats, reference: Floats, n: Any, reference_rows: Any, bins: int) -> Floats:
    """The Jensen-Shannon divergence, in nats (at most ln 2), of each bin.

    Source: Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37, 1991.
    """
    del bins
    p, q = live / n, reference / reference_rows
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, other = p * np.log(p / middle), q * np.log(q / middle)
    return (np.where(p > 0, mine, 0.0) + np.where(q > 0, other, 0.0)) / 2


Terms = Callable[[Floats, Floats, Any, Any, int], Floats]
CURVATURE: dict[Terms, float] = {psi_terms: 1.0, jensen_shannon_terms: 8.0}
"""What a statistic is multiplied with, times nR / (n + R), to be about χ² with bins - 1 degrees of freedom."""


def divergence(terms: Terms, live: Counts, reference: Counts) -> Floats:
    """PSI or Jensen-Shannon divergence of counts by bin.

    Args:
        live, reference: rows in each bin, [..., bins], which broadcast; at least one row each.
    """
    n, rows = (each.sum(axis=-1, keepdims=True).astype(np.float64) for each in (live, reference))
    found = terms(live.astype(np.float64), reference.astype(np.float64), n, rows, live.shape[-1])
    return np.asarray(found.sum(axis=-1))


def divergence_threshold(terms: Terms, live: Counts, reference: Counts, alpha: float) -> float:
    """What PSI or the Jensen-Shannon divergence exceeds without drift with probability α at most.

    Args:
        live, reference: rows in each bin, at least one row each.
    """
    n, rows, bins = int(live.sum()), int(reference.sum()), len(live)
    pooled = live + reference
    degrees, share = np.count_nonzero(pooled) - 1, n / (n + rows)
    if degrees < 2:
        return _two_bin_threshold(terms, live, reference, alpha)
    where = np.repeat(np.arange(bins), pooled + 1)
    drawn = np.concatenate([np.arange(each + 1) for each in pooled])
    logs, others = _log_binomial(drawn, pooled[where], share), n + rows - pooled[where]
    # Counts that are rarer than α / 10 together are left out, as they would dominate the expectation.
    given = logs + _log_binomial(n - drawn, others, share) - _log_binomial(n, n + rows, share)
    kept = given > math.log(alpha / 10 / len(given))
    where, drawn, logs = where[kept], drawn[kept], logs[kept]
    values = terms(drawn.astype(np.float64), (pooled[where] - drawn).astype(np.float64), n, rows, bins)
    # Of χ² the best λ is (1 - k / x) / 2, where x is the threshold; tails that are heavier want a smaller one.
    x = degrees + math.sqrt(4 * degrees * -math.log(alpha)) - 2 * math.log(alpha)
    best = 0.5 * (1 - degrees / x) * CURVATURE[terms] * n * (1 - share)
    lambdas = best * np.array([0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.1])
    exponents = logs + lambdas[:, None] * values
    tops = np.maximum.reduceat(exponents, np.searchsorted(where, np.arange(bins)), axis=1)
    width = _width(n, rows)
    index = (np.arange(len(lambdas))[:, None] * bins + where) * width + drawn % width
    weights = np.exp(exponents - tops[:, where])
    folded = np.bincount(index.ravel(), weights.ravel(), minlength=len(lambdas) * bins * width)
    product = np.fft.rfft(folded.reshape(len(lambdas), bins, width), axis=2).prod(axis=1)
    # Powers are taken modulo the width: what is added to the coefficient is positive, and negligible.
    sums = np.maximum(np.fft.irfft(product, width, axis=1)[:, n % width], 0.0) + ROUNDING * product[:, 0].real
    log_moments = np.log(sums) + tops.sum(axis=1) - _log_binomial(n, n + rows, share)
    return float(np.min((log_moments - math.log(0.9 * alpha)) / lambdas))


def _two_bin_threshold(terms: Terms, live: Counts, reference: Counts, alpha: float) -> float:
    """`divergence_threshold` where two bins have all rows, from the probability of each possible count."""
    n, rows, pooled = int(live.sum()), int(reference.sum()), live + reference
    first, other = np.argsort(pooled)[::-1][:2]
    drawn = np.arange(max(0, n - pooled[other]), min(n, pooled[first]) + 1)
    counts = np.zeros((len(drawn), len(live)))
    counts[:, first], counts[:, other] = drawn, n - drawn
    values = terms(counts, pooled - counts, n, rows, len(live)).sum(axis=1)
    order = np.argsort(values)[::-1]
    chances = np.cumsum(hypergeom.pmf(drawn[order], n + rows, pooled[first], n))
    return float(values[order][np.searchsorted(chances, alpha)])


def wasserstein(live: Counts, reference: Counts, gaps: Floats) -> Floats:
    """The Wasserstein-1 distance of two distributions on a line: the area between their distribution functions.

    Args:
        live, reference: rows in each bin, [..., bins], which broadcast; at least one row each.
        gaps: distances from each bin to the next one, [bins - 1].
    """
    shares = [np.cumsum(each, axis=-1) / each.sum(axis=-1, keepdims=True) for each in (live, reference)]
    return np.asarray(np.abs(shares[0] - shares[1])[..., :-1] @ gaps)


def wasserstein_threshold(live: Counts, reference: Counts, gaps: Floats, alpha: float) -> float:
    """What the Wasserstein distance exceeds without drift with probability α at most.

    The live rows up to a bin are a Markov chain from bin to bin, so that E[exp(λ S)] is a product along it.
    """
    n, rows = int(live.sum()), int(reference.sum())
    pooled, share = live + reference, n / (n + rows)
    places = np.concatenate([[0.0], np.cumsum(gaps)])
    mean = places @ pooled / (n + rows)
    spread = math.sqrt(max((places - mean) ** 2 @ pooled / (n + rows) * (1 / n + 1 / rows), 1e-300))
    lambdas = math.sqrt(2 * math.log(2 / alpha)) / spread * np.array([0.4, 0.6, 0.75, 0.9, 1.0])
    # Counts that are rarer than α / 10 together are left out, as they would dominate the expectation.
    floor = math.log(alpha / 10 / len(pooled) / (n + 1))
    sums, scales, first, below = np.ones((len(lambdas), 1)), np.zeros(len(lambdas)), 0, 0
    for step, count in enumerate(pooled.tolist()):
        below += count
        start, last = _likely_range(below, n, rows, floor)
        start, last = max(start, first), min(last, first + sums.shape[1] - 1 + count)
        least, most = max(0, start - first - sums.shape[1] + 1), min(count, last - first)
        chances = np.exp(_log_binomial(np.arange(least, most + 1), count, share))
        skipped = start - first - least
        sums = np.stack([np.convolve(each, chances)[skipped : skipped + last - start + 1] for each in sums])
        first, taken = start, np.arange(start, last + 1)
        if step < len(gaps):
            sums = sums * np.exp(lambdas[:, None] * gaps[step] * np.abs(taken / n - (below - taken) / rows))
        tops = sums.max(axis=1, keepdims=True)
        sums, scales = sums / tops, scales + np.log(tops[:, 0])
    log_moments = np.log(sums[:, n - first]) + scales - _log_binomial(n, n + rows, share)
    return float(np.min((log_moments - math.log(0.9 * alpha)) / lambdas))


def _likely_range(below: int, n: int, rows: int, floor: float) -> tuple[int, int]:
    """The least and the largest number of live rows among `below` rows of both samples whose log probability is above
    the floor."""
    taken, share = np.arange(max(0, below - rows), min(n, below) + 1), n / (n + rows)
    logs = _log_binomial(taken, below, share) + _log_binomial(n - taken, n + rows - below, share)
    likely = taken[logs - _log_binomial(n, n + rows, share) > floor]
    return int(likely[0]), int(likely[-1])


@cache
def most_rows(reference: int, reference_rows: int, rows: int, alpha: float) -> int:
    """How many of the live rows may be of a kind, such as without a value, before there are too many of them.

    More appear without drift with probability α at most, by Fisher's exact test ("The Design of Experiments", 1935,
    section 21.02).

    Args:
        reference: rows of the kind among the `reference_rows`.
        rows: live rows.

    Returns:
        From 0 to `rows`; all rows where no number would be too many.
    """
    low, high = 0, rows + 1  # `high` rows are too many, or impossible
    while low + 1 < high:
        middle = (low + high) // 2
        chance = hypergeom.sf(middle - 1, rows + reference_rows, middle + reference, rows)
        low, high = (low, middle) if chance <= alpha else (middle, high)
    return low


def _log_binomial(successes: NDArray[np.int64] | int, trials: NDArray[np.int64] | int, share: float) -> Floats:
    """The logarithm of the binomial probability."""
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(choose + k * math.log(share) + (n - k) * math.log1p(-share))


def _width(n: int, rows: int) -> int:
    """How many counts around the expected one are looked at: 14 standard deviations or more, a power of 2."""
    return int(2 ** math.ceil(math.log2(14 * math.sqrt(n * rows / (n + rows)) + 32)))

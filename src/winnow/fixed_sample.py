"""Tests and bounds that hold at one look, at a sample whose size was fixed beforehand.

`statistics` has those that hold at every look, which need more data for the same verdict. Every bound is one-sided: it
is wrong with probability α at most, so that a lower and an upper bound enclose the true value with 1 - 2 α.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


def share_bounds(successes: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[Floats, Floats]:
    """Exact bounds of a probability, each at α; 0 and 1 without trials.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934.
    """
    k, n = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    low, high = stats.beta.ppf(alpha, k, n - k + 1), stats.beta.ppf(1 - alpha, k + 1, n - k)
    return np.where(k > 0, low, 0.0), np.where(k < n, high, 1.0)


def mcnemar(gained: ArrayLike, lost: ArrayLike) -> Floats:
    """The exact one-sided McNemar test: how probable it is to gain so many rows if gains and losses are equally likely.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12, 1947; exact as the sign test of the rows that differ (`scipy.stats.binomtest`, `greater`).

    Args:
        gained: rows that the first version has right and the other wrong.
        lost: rows that it has wrong and the other right.

    Returns:
        The p-value; 1 without a difference.
    """
    more, less = np.asarray(gained), np.asarray(lost)
    return np.asarray(stats.binom.sf(more - 1, more + less, 0.5))


def fold_difference(
    differences: ArrayLike, train_rows: int, validation_rows: int, alpha: float
) -> tuple[Floats, Floats, Floats]:
    """The mean difference of two models over the folds of a cross-validation, with bounds.

    Folds share training rows, so that their differences are correlated and the plain t-test finds too much. With J
    folds and s² the sample variance of the differences, the corrected test takes

        t = mean / √((1/J + validation rows / training rows) · s²),   J - 1 degrees of freedom.

    Source: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003, section 3.

    Args:
        differences: `(..., folds)`, at least two folds, of the same rows for both models.

    Returns:
        Mean, lower and upper bound, each of shape `(...)`.
    """
    each = np.asarray(differences, dtype=np.float64)
    folds, mean = each.shape[-1], each.mean(-1)
    error = np.sqrt((1 / folds + validation_rows / train_rows) * each.var(-1, ddof=1))
    half = stats.t.ppf(1 - alpha, folds - 1) * error
    return mean, mean - half, mean + half


def quantile_bounds(values: ArrayLike, quantile: float, alpha: float) -> tuple[float | None, float | None]:
    """Bounds of a quantile that hold for every distribution: two of the sorted values.

    The number of values below the quantile is binomial. Source: David and Nagaraja, Order Statistics, 3rd edition,
    2003, section 7.1.

    Returns:
        The lower and the upper bound; None where there are too few values for one (`rows_for_quantile`).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    below, above = int(stats.binom.ppf(alpha, n, quantile)), int(stats.binom.ppf(1 - alpha, n, quantile)) + 1
    return (
        float(ordered[below - 1]) if below >= 1 else None,
        float(ordered[above - 1]) if above <= n else None,
    )


def rows_for_quantile(quantile: float, alpha: float) -> int:
    """The fewest values that have an upper bound of a quantile: 59 for 0.95 at α = 0.05."""
    return math.ceil(math.log(alpha) / math.log(quantile))


def bootstrap_bounds(worse: Floats, better: Floats, rows: int, alpha: float) -> tuple[float, float]:
    """Bounds from a statistic's values over resampled rows: percentiles, a little wider for few rows.

    The percentiles are those of the t distribution, spread by √(n / (n - 1)), brought to the normal scale, as plain
    percentiles are too narrow for small samples. Source: Hesterberg, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69, 2015, section 4.3 (expanded percentile interval).

    Args:
        worse, better: `(resamples,)`, values for the lower and for the upper bound; undefined ones (NaN) are left out.
        rows: that were resampled, at least two.
    """
    share = stats.norm.cdf(math.sqrt(rows / (rows - 1)) * stats.t.ppf(alpha, rows - 1))
    return float(np.nanquantile(worse, share)), float(np.nanquantile(better, 1 - share))


def rows_needed(rows: int, estimate: float, bound: float, demand: float) -> int | None:
    """About how many rows show a demand if the estimate stays: the interval narrows with the square root of the rows.

    Args:
        bound: the estimate's bound on the side of the demand.

    Returns:
        Rows, rounded up to two digits; None where the estimate does not meet the demand.
    """
    gap, half = abs(estimate - demand), abs(estimate - bound)
    is_met = (estimate > demand) == (estimate > bound) and gap > 0
    if not is_met or not math.isfinite(half) or half / gap > 1e4:
        return None
    needed = rows * (half / gap) ** 2
    digits: int = 10 ** max(math.floor(math.log10(max(needed, 1))) - 1, 0)
    return math.ceil(needed / digits) * digits

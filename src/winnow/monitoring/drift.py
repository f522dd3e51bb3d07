"""Which columns and outputs have moved away from the reference profile. Pure.

Every column is compared by several statistics, and every statistic has its threshold from the null (`thresholds`): what
two samples of one distribution, as large as the reference and the live one, exceed with probability α at most. α of a
check is divided among the statistics, so that the expected number of false findings of a check is at most α, however
columns depend on each other, and that of a month what the file says.

A date grows by nature, so that only its missing values are tested. The rows of one request are one observation, as they
may be alike: counts of requests with ten rows each weigh a tenth. Rows of one client, or of one hour of the day, may be
alike, too: a check should span what is usual (`monitoring.every`). docs/monitoring.md says more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from winnow.bundle.profile import CONFIDENCE, ColumnCounts, ColumnProfile, Profile
from winnow.finding import Finding, Result
from winnow.monitoring.live import LiveCounts
from winnow.monitoring.report import ColumnDrift
from winnow.monitoring.thresholds import (
    Counts,
    Floats,
    divergence,
    divergence_threshold,
    jensen_shannon_terms,
    most_rows,
    psi_terms,
    wasserstein,
    wasserstein_threshold,
)

MONTH_S = 30 * 86400
MOST_ALPHA = 0.5
MOST_ROWS = 10_000
"""Thresholds are those of this many rows at most: a drift that they would not show is not worth an alarm."""
OUTPUTS = 0.25
"""The outputs' part of α: they sum up all columns, however many there are."""
SHIFT = 0.5
"""The shift, in standard deviations, that the needed rows show with a probability of about 0.9."""
POWER_Z = 1.28
ROUNDING = 1 + 1e-9
TERMS = {"psi": psi_terms, "jensen_shannon": jensen_shannon_terms}
WORDS = {"psi": "PSI", "jensen_shannon": "Jensen-Shannon divergence", "wasserstein": "Wasserstein distance"}
STATISTICS: dict[str, tuple[str, ...]] = {
    "number": ("psi", "jensen_shannon", "wasserstein", "missing"),
    "category": ("psi", "jensen_shannon", "missing", "unknown"),
    "boolean": ("psi", "jensen_shannon", "missing"),
    "date": ("missing",),
}
"""What columns of a kind are compared by. Outputs are never missing or unknown."""


def alpha_per_check(false_alarms_per_month: float, every_s: float) -> float:
    """The expected number of false findings of one check: those of 30 days, by the number of checks; at most 0.5.

    Args:
        false_alarms_per_month: `monitoring.false_alarms_per_month`.
        every_s: `monitoring.every`, in seconds.
    """
    return min(false_alarms_per_month * every_s / MONTH_S, MOST_ALPHA)


def needed_rows(profile: Profile, alpha: float, rows_per_request: float = 1.0) -> int:
    """How many live rows it takes before drift is judged.

    So many that a number whose values all move by half a standard deviation is found with a probability of about 0.9
    (by the normal approximation of the difference of two means). A reference that is too small for that is compared
    with four times as many live rows: more would hardly help.

    Args:
        alpha: as for `find_drift`.
        rows_per_request: `LiveCounts.rows_per_request`.
    """
    alphas = _alphas(profile, alpha)
    z = math.sqrt(2 * math.log(2 / (alphas[False] or alphas[True] or alpha))) + POWER_Z
    inverse = (SHIFT / z) ** 2 - 1 / max(profile.rows, 1)
    enough = 4 * profile.rows
    needed = min(max(enough, 1), MOST_ROWS, math.ceil(1 / inverse) if inverse > 0 else enough)
    return math.ceil(needed * rows_per_request)


def find_drift(
    profile: Profile, live: LiveCounts, alpha: float, *, earlier: Sequence[ColumnDrift] = ()
) -> tuple[ColumnDrift, ...]:
    """Compare live counts with the profile.

    Args:
        alpha: expected number of false findings of this check, all columns and statistics together.
        earlier: what the last check found; a drift that goes on keeps its `since`.

    Returns:
        Outputs first, then columns, in the profile's order. `not_enough_data` below `needed_rows`.

    Raises:
        ValueError: counts of other bins than the profile's.
    """
    together, alphas = live.rows_per_request, _alphas(profile, alpha)
    needed = needed_rows(profile, alpha, together)
    since = {(known.is_output, known.name): known.since for known in earlier}
    found = []
    for is_output, column in _compared(profile):
        names = _statistics(profile, is_output, column)
        if not names:
            continue
        counts = (live.outputs if is_output else live.columns).get(column.name)
        counts = ColumnCounts((0,) * len(column.counts.bins)) if counts is None else counts
        if len(counts.bins) != len(column.counts.bins):
            wanted = f"{len(column.counts.bins)} bins of '{column.name}', as in the profile"
            raise ValueError(f"expected {wanted}, found {len(counts.bins)}")
        findings = tuple(
            _finding(name, column, counts, together, alphas[is_output])
            if counts.rows >= needed
            else _unjudged(name, counts.rows, f"{counts.rows:,} of {needed:,} rows that it takes.")
            for name in names
        )
        drift = ColumnDrift(column.name, column.kind, is_output, column.importance, column.counts, counts, findings)
        if drift.result is Result.FAIL:
            first = since.get((is_output, column.name))
            drift = replace(drift, since=live.since if first is None else first)
        found.append(drift)
    return tuple(found)


def mean_shift(column: ColumnProfile, live: ColumnCounts) -> float | None:
    """How far the mean of the present values is from the training rows', in their standard deviations.

    From the sums, so that also a single value far outside counts; None for categories and without values.
    """
    n, rows = sum(live.bins), sum(column.counts.bins)
    if column.kind != "number" or not n or not rows or column.scale <= 0:
        return None
    return (live.total / n - column.counts.total / rows) / column.scale


def gaps_between(column: ColumnProfile) -> Floats:
    """Distances of neighbouring bins in standard deviations, [bins - 1].

    A bin stands at its middle, an open one at the middle between its edge and the 0.01 or 0.99 quantile. Where every
    value of the training rows has a bin of its own, a bin stands at its value.
    """
    edges = np.asarray(column.edges, dtype=np.float64)
    if len(edges) < 1 or column.scale <= 0:
        return np.zeros(len(edges))
    low, high = (column.quantiles[0], column.quantiles[-1]) if column.quantiles else (edges[0], edges[-1])
    places = np.concatenate([[min(low, edges[0])], edges, [max(high, edges[-1])]])
    # Edges are in float32: the first one is just below the first value.
    has_single_values = len(edges) > 1 and edges[1] - edges[0] <= 2 * np.spacing(np.float32(np.abs(edges[:2]).max()))
    middles = places[1:] if has_single_values else (places[:-1] + places[1:]) / 2
    return np.asarray(np.diff(middles) / column.scale)


def _compared(profile: Profile) -> list[tuple[bool, ColumnProfile]]:
    return [(True, one) for one in profile.outputs] + [(False, one) for one in profile.columns]


def _statistics(profile: Profile, is_output: bool, column: ColumnProfile) -> tuple[str, ...]:
    """What a column or output is compared by. A single bin, of a column with hardly any value, can move nowhere."""
    shares = ("missing", "unknown")
    names = tuple(name for name in STATISTICS[column.kind] if name in shares or len(column.counts.bins) > 1)
    if not is_output:
        return names
    if column.name == CONFIDENCE and profile.output_source != "holdout":
        return ()  # Models of folds and on their own training rows are not as sure as the served one on new rows.
    return tuple(name for name in names if name not in shares)


def _alphas(profile: Profile, alpha: float) -> dict[bool, float]:
    """α of each statistic of an output (True) and of a column (False)."""
    tests = {True: 0, False: 0}
    for is_output, column in _compared(profile):
        tests[is_output] += len(_statistics(profile, is_output, column))
    outputs = OUTPUTS if all(tests.values()) else float(tests[True] > 0)
    return {True: outputs * alpha / max(tests[True], 1), False: (1 - outputs) * alpha / max(tests[False], 1)}


def _finding(name: str, column: ColumnProfile, live: ColumnCounts, together: float, alpha: float) -> Finding:
    if name in ("missing", "unknown"):
        return _share_finding(name, column, live, together, alpha)
    mine, reference = _weighed(live.bins, together), _weighed(column.counts.bins, 1.0)
    if not mine.sum() or not reference.sum():
        whose = "live" if not mine.sum() else "training"
        return _unjudged(name, 0, f"No {whose} row has a value.")
    if name == "wasserstein":
        gaps = gaps_between(column)
        estimate, threshold = float(wasserstein(mine, reference, gaps)), 0.0
        if estimate > 0:
            threshold = wasserstein_threshold(mine, reference, gaps, alpha)
    else:
        estimate = float(divergence(TERMS[name], mine, reference))
        threshold = divergence_threshold(TERMS[name], mine, reference, alpha)
    has_moved = estimate > threshold * ROUNDING
    limit = f"{threshold:.3g}{' standard deviations' if name == 'wasserstein' else ''}"
    shift = mean_shift(column, live) if name == "wasserstein" else None
    moved = "" if shift is None else f"; the mean moved by {shift:+.3g} standard deviations"
    compared = f"where chance alone gives up to {limit}" if has_moved else f"up to {limit} is chance"
    reason = f"{WORDS[name]} {estimate:.3g}, {compared}{moved}."
    rule = f"{WORDS[name]} of {len(mine)} bins, permutation null, α = {alpha:.2g}"
    result = Result.FAIL if has_moved else Result.PASS
    return Finding(name, estimate, (None, None), sum(live.bins), threshold, rule, result, reason)


def _share_finding(name: str, column: ColumnProfile, live: ColumnCounts, together: float, alpha: float) -> Finding:
    """Whether more rows, or fewer, are without a value than in training; whether more have a new category."""
    counts, rule = column.counts, f"Fisher's exact test, α = {alpha:.2g}"
    rows = live.rows
    n, reference_rows = min(round(rows / together), MOST_ROWS), min(counts.rows, MOST_ROWS)
    value, before = (live.missing, counts.missing) if name == "missing" else (live.unknown, counts.unknown)
    if name == "unknown":
        # By definition training rows have no new category. About as many live rows have one as training rows had a
        # category of their own: Good, "The population frequencies of species", Biometrika 40, 1953.
        before = max(before, sum(count == 1 for count in counts.bins))
    taken, known = round(value * n / rows), round(before * reference_rows / max(counts.rows, 1))
    each = alpha / 2 if name == "missing" else alpha
    most = most_rows(known, reference_rows, n, each)
    least = n - most_rows(reference_rows - known, reference_rows, n, each) if name == "missing" else 0
    has_moved = not least <= taken <= most
    share, margin = value / rows, (most if taken >= least else least) / n
    what = "have a category that training rows do not have"
    if name == "missing":
        what = f"have no value, {before / max(counts.rows, 1):.1%} had none in training"
    side = "at least" if taken < least else "up to"
    reason = f"{share:.1%} of the rows {what}; {side} {margin:.1%} is chance."
    return Finding(name, share, (None, None), rows, margin, rule, Result.FAIL if has_moved else Result.PASS, reason)


def _weighed(bins: Sequence[int], together: float) -> Counts:
    """Counts of `MOST_ROWS` observations at most, in the same proportions. `together`: rows of one observation."""
    counts = np.asarray(bins, dtype=np.int64)
    weight = min(1 / together, MOST_ROWS / max(int(counts.sum()), 1))
    return counts if weight == 1 else np.rint(counts * weight).astype(np.int64)


def _unjudged(name: str, rows: int, reason: str) -> Finding:
    return Finding(name, None, (None, None), rows, 0.0, "not judged", Result.NOT_ENOUGH_DATA, reason)

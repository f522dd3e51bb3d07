"""Whether a model goes by the same columns on live rows as on the rows of its training, by the ranks of importances.

Permutation importances (Breiman, "Random forests", Machine Learning 45, 2001) of live rows with outcomes are compared
with the profile's by Spearman's rank correlation, as their metrics may differ. Importances of some hundred rows are
noisy, so that the threshold comes from the null: the correlation of two measurements of the same importances, each with
its error. Importances within two errors of 0 count as 0, which makes the null's correlations smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import rankdata

from winnow.bundle.profile import Profile
from winnow.finding import Finding, Result

CONDITION = "importances"
Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
Loss = Callable[[Matrix], Floats]
"""The loss of each row, such as 1 for a wrong class, of encoded rows whose columns may be permuted."""
LEAST_COLUMNS, LEAST_ROWS = 3, 100
MOST_DRAWS = 50_000


class Importances(Struct, frozen=True):
    """Permutation importances, in units of the loss.

    Attributes:
        values: by column, the mean over rows and repetitions of how much larger the loss is.
        errors: standard errors of the values, of the choice of rows and of the permutations.
        rows: that they were measured on.
    """

    values: dict[str, float]
    errors: dict[str, float]
    rows: int


def measure_importances(
    loss: Loss, rows: Matrix, parts: Mapping[str, slice], *, repetitions: int = 3, seed: int = 0
) -> Importances:
    """Permute each column among the rows, and measure how much larger the loss is.

    Args:
        loss: it is called `len(parts) * repetitions + 1` times.
        rows: encoded rows, [rows, width].
        parts: where the numbers of each column to permute lie.
    """
    before, random = loss(rows), np.random.default_rng(seed)
    values, errors = {}, {}
    for name, part in parts.items():
        more = np.zeros(len(rows))
        for _ in range(repetitions):
            permuted = rows.copy()
            permuted[:, part] = rows[random.permutation(len(rows)), part]
            more += (loss(permuted) - before) / repetitions
        values[name] = float(more.mean())
        errors[name] = float(more.std(ddof=1) / math.sqrt(len(rows)))
    return Importances(values, errors, len(rows))


def importance_drift(profile: Profile, live: Importances, alpha: float, seed: int = 0) -> Finding:
    """Compare the ranks of live importances with the profile's.

    Args:
        live: of the profile's columns; others are left out.
        alpha: the probability of a false finding.

    Returns:
        `estimate` is Spearman's correlation, `margin` the threshold that it has to reach; a `fail` names the columns
        whose ranks moved most.
    """
    columns = [one for one in profile.columns if one.importance is not None and one.name in live.values]
    if len(columns) < LEAST_COLUMNS or live.rows < LEAST_ROWS:
        reason = (
            f"It takes {LEAST_ROWS} rows with an outcome and {LEAST_COLUMNS} columns whose importance is known;"
            f" there are {live.rows:,} and {len(columns)}."
        )
        return Finding(CONDITION, None, (None, None), live.rows, 0.0, "not judged", Result.NOT_ENOUGH_DATA, reason)
    known = np.array([one.importance or 0.0 for one in columns])
    found = np.array([live.values[one.name] for one in columns])
    found_errors = np.array([live.errors[one.name] for one in columns])
    # In units of the profile's metric. The profile has the error of its permutations alone; that of its rows is taken
    # from the live ones.
    scale = np.abs(known).sum() / max(np.abs(found).sum(), 1e-300)
    rows_ratio = live.rows / max(profile.output_rows or profile.rows, 1)
    live_errors = found_errors * scale
    errors = np.hypot([one.importance_std or 0.0 for one in columns], live_errors * math.sqrt(rows_ratio))
    correlation = float(_correlations(known[None], found[None])[0])
    draws = min(math.ceil(20 / alpha), MOST_DRAWS)
    threshold = _threshold(known, errors, live_errors, alpha, draws, seed)
    has_moved = correlation < threshold
    reason = f"Ranks of the importances correlate by {correlation:.2f}; from {threshold:.2f} on it is chance"
    if has_moved:
        reason += f". The ranks of {_moved_most(known, found, [one.name for one in columns])} moved most"
    rule = f"Spearman's rank correlation of {len(columns)} columns, null of {draws:,} draws, α = {alpha:.2g}"
    result = Result.FAIL if has_moved else Result.PASS
    return Finding(CONDITION, correlation, (None, None), live.rows, threshold, rule, result, f"{reason}.")


def _threshold(known: Floats, errors: Floats, live_errors: Floats, alpha: float, draws: int, seed: int) -> float:
    """What the correlation of two measurements of the same importances falls below with probability α at most."""
    truth = np.sign(known) * np.maximum(np.abs(known) - 2 * errors, 0.0)
    noise = np.random.default_rng(seed).standard_normal((2, draws, len(known)))
    null = np.sort(_correlations(truth + errors * noise[0], truth + live_errors * noise[1]))
    # The observed correlation counts as one more draw, so that the share below it is at most α.
    smaller = math.floor(alpha * (draws + 1)) - 1
    return float(null[smaller]) if smaller >= 0 else -1.0


def _correlations(first: Floats, other: Floats) -> Floats:
    """Spearman's rank correlation of each row, [rows, columns]; 0 where a row has one rank for all."""
    ranks = [rankdata(each, axis=1) - (each.shape[1] + 1) / 2 for each in (first, other)]
    size = np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    return np.asarray(np.divide((ranks[0] * ranks[1]).sum(axis=1), size, out=np.zeros(len(size)), where=size > 0))


def _moved_most(known: Floats, found: Floats, names: Sequence[str]) -> str:
    before, now = (len(names) + 1 - rankdata(each) for each in (known, found))
    most = np.argsort(-np.abs(before - now))[:LEAST_COLUMNS]
    return ", ".join(f"{names[each]} ({before[each]:.0f} → {now[each]:.0f})" for each in most)

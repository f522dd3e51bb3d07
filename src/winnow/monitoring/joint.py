"""Whether live rows as a whole differ from the reference rows: columns together, where each alone may look the same.

A classifier two-sample test: a classifier learns on one half of the rows which of them are live, and its AUC on the
other half shows whether it can tell. Source: Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", 2017. Both
halves are tested, each at half of α. On rows that the classifier has not seen, without drift, every assignment of the
labels is equally likely, so that the AUC is the Mann-Whitney statistic with its known variance ("On a test of whether
one of two random variables is stochastically larger than the other", 1947); ties only make it smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from winnow.bundle.columns import Column, encode_frame
from winnow.finding import Finding, Result

CONDITION = "joint"
LEAST_ROWS, MOST_ROWS = 100, 2000
"""Rows of each kind: the normal distribution fits from the first on, and the second bounds the time to about 1 s."""
NAMED = 3
REPETITIONS = 3
LEAST_LOSS = 0.005
"""Of the AUC, of a column that is named."""


def joint_drift(
    columns: Sequence[Column], reference: pd.DataFrame, live: pd.DataFrame, alpha: float, seed: int = 0
) -> Finding:
    """Tell live rows from reference rows by the columns that both have; dates, which grow by nature, are left out.

    Args:
        columns: of the model's signature.
        reference, live: raw rows. Of more than `MOST_ROWS` as many are drawn.
        alpha: the probability of a false finding.

    Returns:
        `estimate` is the larger AUC of the two halves, `margin` its threshold; a `fail` names the columns that tell.

    Raises:
        ValueError: a value that its column does not take.
    """
    used = [one for one in columns if one.kind != "date" and one.name in reference and one.name in live]
    n = min(len(reference), len(live))
    if not used or n < LEAST_ROWS:
        found = "no column in both" if not used else f"{len(live):,} live and {len(reference):,} reference rows"
        reason = f"It takes {LEAST_ROWS} rows of each kind with a column in both; there are {found}."
        return Finding(CONDITION, None, (None, None), n, 0.0, "not judged", Result.NOT_ENOUGH_DATA, reason)
    # On a busy machine OpenMP's threads wait for one another longer than they compute. The limit holds for libraries
    # that are loaded.
    import sklearn.ensemble  # noqa: F401

    with threadpool_limits(1, "openmp"):
        return _judged(used, reference, live, alpha, seed)


def _judged(used: Sequence[Column], reference: pd.DataFrame, live: pd.DataFrame, alpha: float, seed: int) -> Finding:
    random = np.random.default_rng(seed)
    encoded = [encode_frame(used, each) for each in (reference, live)]
    parts = [rows[random.permutation(len(rows))[:MOST_ROWS]] for rows in encoded]
    X = np.concatenate(parts)
    y = np.concatenate([np.zeros(len(parts[0]), dtype=int), np.ones(len(parts[1]), dtype=int)])
    # Rows are in random order, so that every second one of each kind is a random half of it.
    first = np.concatenate([np.arange(len(each)) % 2 == 0 for each in parts])
    models = [_classifier(X[half], y[half], seed) for half in (first, ~first)]
    areas = [_area(model, X[half], y[half]) for model, half in zip(models, (~first, first), strict=True)]
    a, b = (len(each) // 2 for each in parts)
    threshold = 0.5 + float(-ndtri(alpha / 2)) * math.sqrt((a + b + 1) / (12 * a * b))
    best = int(np.argmax(areas))
    has_moved = areas[best] > threshold
    reason = (
        f"A classifier tells live from reference rows with an AUC of {areas[best]:.3f}; up to {threshold:.3f} is chance"
    )
    if has_moved:
        half = first if best else ~first
        reason += f". It goes by {_told_by(models[best], X[half], y[half], [one.name for one in used], seed)}"
    rule = f"classifier two-sample test on two halves, α = {alpha:.2g}"
    result = Result.FAIL if has_moved else Result.PASS
    return Finding(CONDITION, areas[best], (None, None), len(parts[1]), threshold, rule, result, f"{reason}.")


def _classifier(X: NDArray[np.float32], y: NDArray[np.int64], seed: int) -> object:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=seed).fit(
        X, y
    )


def _area(model: object, X: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, model.predict_proba(X)[:, 1]))  # type: ignore[attr-defined]


def _told_by(model: object, X: NDArray[np.float32], y: NDArray[np.int64], names: Sequence[str], seed: int) -> str:
    """The columns without which the classifier tells worse, with the AUC that each costs, the most important first."""
    from sklearn.inspection import permutation_importance

    found = permutation_importance(model, X, y, scoring="roc_auc", n_repeats=REPETITIONS, random_state=seed)
    losses = found["importances_mean"]
    most = [each for each in np.argsort(-losses)[:NAMED] if losses[each] >= LEAST_LOSS]
    return ", ".join(f"{names[each]} ({losses[each]:.2f})" for each in most) or "several columns together"

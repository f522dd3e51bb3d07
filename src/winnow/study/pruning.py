"""The median rule over folds: whether a trial is worth another fold.

It compares the mean over the folds so far with the means of other trials over as many folds. Optuna's MedianPruner
compares a trial's best single report, which is meaningless if each report is another fold.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

STARTUP_TRIALS = 5
"""How many trials must have ended before their median counts (Optuna's default)."""


def should_prune(
    scores: Sequence[float], others: Sequence[Sequence[float]], goal: Literal["maximize", "minimize"]
) -> bool:
    """The median rule over folds.

    Args:
        scores: the trial's fold scores so far, in order.
        others: fold scores, in order, of every trial that has ended and did not fail.
        goal: which way is better.
    """
    folds = len(scores)
    reached = [other[:folds] for other in others if len(other) >= folds]
    if folds == 0 or len(others) < STARTUP_TRIALS or not reached:
        return False
    mean = statistics.fmean(scores)
    median = statistics.median(statistics.fmean(other) for other in reached)
    return mean < median if goal == "maximize" else mean > median

"""Whether a trial can still become the best one: a comparison with the finished trials, fold by fold.

A score is taken as the sum of what the trial is worth, how hard the fold is, and chance (a two-way layout):

    score[i, j] = trial[i] + fold[j] + residual[i, j],    residual ~ N(0, σ²), independent

m finished trials have scores on the same K folds. They give the mean of every fold r[j], and the pooled estimate of σ²
with (m - 1)(K - 1) degrees of freedom. The incumbent is the finished trial with the best mean B. For a trial with
scores on a set S of n folds, 0 < n < K:

    estimate = mean over S of (score[j] - r[j]) + mean over all K folds of r[j]
    V        = σ² (1 + 1/m) (K - n) / (K n)
    P        = P(T > (B - estimate) / √V),    T ~ Student's t with (m - 1)(K - 1) degrees of freedom

V is the variance of the trial's final mean around its estimate: the n known scores are part of the final mean, and
predict the K - n missing ones. The fold means come from all m trials; those of the incumbent alone would double V. If
smaller scores are better, all signs change.

A fold can be harder for poor trials than for good ones, and poor trials scatter more. So P is computed from all
finished trials and from their better half (rounded up, at least two); the larger result is the probability that the
trial beats the incumbent. With few trials the better half has few degrees of freedom, so that only clear cases stop.

Assumptions: folds are alike (one σ² for all), and residuals are about normal. The probability holds for one test; a
trial that is tested after each fold is stopped wrongly somewhat more often. `benchmarks/racing.py` measures how often.

Sources: the two-way layout without replication and its residual variance, Scheffé, The Analysis of Variance (1959),
chapter 4; racing by paired tests on shared folds, Maron and Moore, Hoeffding races (1994), and Birattari et al., A
racing algorithm for configuring metaheuristics (2002); stopping cross-validation early, Bergman et al., Don't waste
your time: early stopping cross-validation (AutoML 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from winnow.study.student import student_cdf

THRESHOLD = 0.01
"""The default probability below which a trial stops."""
FINISHED_TRIALS = 3
"""So many trials must finish before any is stopped."""
_ROUNDING = 1e-9
"""Residuals below this share of the scores are rounding errors, not noise."""


@dataclass(frozen=True)
class Layout:
    """A two-way layout of trials and folds.

    Attributes:
        fold_means: mean score of the trials on each fold.
        trials: how many there are.
        variance: pooled variance of the residuals, with (trials - 1)(folds - 1) degrees of freedom.
    """

    fold_means: tuple[float, ...]
    trials: int
    variance: float

    def estimate(self, scores: Mapping[int, float]) -> float:
        """The mean over all folds that a trial with these scores, by fold, is expected to have."""
        return fmean(score - self.fold_means[fold] for fold, score in scores.items()) + fmean(self.fold_means)

    def chance(self, scores: Mapping[int, float], best: float, sign: float) -> float:
        """The probability that a trial with these scores ends above `best` (`sign` -1: below); 1 without noise."""
        known, folds = len(scores), len(self.fold_means)
        if self.variance <= (_ROUNDING * max(map(abs, self.fold_means))) ** 2:
            return 1.0
        spread = math.sqrt(self.variance * (1 + 1 / self.trials) * (folds - known) / (folds * known))
        lead = sign * (self.estimate(scores) - best)
        return student_cdf(lead / spread, (self.trials - 1) * (folds - 1))


@dataclass(frozen=True)
class Reference:
    """The finished trials that others are compared with.

    Attributes:
        incumbent: number of the finished trial with the best mean; of equal ones the lowest.
        best: its mean.
        finished: all finished trials.
        better: their better half.
        sign: 1 where a larger score is better, else -1.
    """

    incumbent: int
    best: float
    finished: Layout
    better: Layout
    sign: float

    def chance(self, scores: Mapping[int, float]) -> float | None:
        """The probability that a trial with these scores, by fold, beats the incumbent.

        None before the first fold, after the last one, and with scores that are not finite.
        """
        if not 0 < len(scores) < len(self.finished.fold_means) or not all(map(math.isfinite, scores.values())):
            return None
        return max(layout.chance(scores, self.best, self.sign) for layout in (self.finished, self.better))


def reference(finished: Mapping[int, Sequence[float]], goal: Literal["maximize", "minimize"]) -> Reference | None:
    """The reference of these finished trials; None for fewer than `FINISHED_TRIALS`, or for one fold.

    Args:
        finished: each trial's scores on all folds, by number. Trials with scores that are not finite are left out.
    """
    numbers = sorted(number for number, scores in finished.items() if all(map(math.isfinite, scores)))
    if len(numbers) < FINISHED_TRIALS or len(finished[numbers[0]]) < 2:
        return None
    scores = np.array([finished[number] for number in numbers])
    sign = 1.0 if goal == "maximize" else -1.0
    means = scores.mean(axis=1)
    ranked = np.argsort(-sign * means, kind="stable")
    better = ranked[: max(2, math.ceil(len(ranked) / 2))]
    best = int(ranked[0])
    return Reference(numbers[best], float(means[best]), _layout(scores), _layout(scores[better]), sign)


def _layout(scores: NDArray[np.float64]) -> Layout:
    """The layout of scores, trials × folds."""
    trials, folds = scores.shape
    fold_means = scores.mean(axis=0)
    residuals = scores - scores.mean(axis=1, keepdims=True) - fold_means + fold_means.mean()
    variance = float((residuals**2).sum()) / ((trials - 1) * (folds - 1))
    return Layout(tuple(fold_means.tolist()), trials, variance)

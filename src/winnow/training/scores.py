"""Metrics of classifiers and regressors as torch code on the device, for one model or for several stacked ones.

Classifiers take class probabilities [..., rows, classes] and the classes int64 [..., rows]; regressors take values and
truth, both [..., rows, targets]. Leading axes are models, and what is missing from the target's broadcasts. Each gives
float64 [...], NaN where it is not defined.

The definitions are those of torchmetrics 1.9 for multi-class and for single-output metrics, computed in float64; where
torchmetrics departs from the textbook, a comment says how. Averages over classes are macro averages
where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Score = Callable[..., Tensor]
Average = Literal["macro", "weighted", "micro"] | int
"""How the classes' values become one; an index means that of a class alone."""


class Counts(NamedTuple):
    """Rows guessed right, of each class, and guessed to be of it, [..., classes]; and all rows, [..., 1]."""

    right: Tensor
    true: Tensor
    guessed: Tensor
    rows: Tensor


class Ranking(NamedTuple):
    """For each class the rows in ascending order of its score.

    Attributes:
        is_of: whether a row is of the class, [..., classes, rows].
        first, after: positions of the first row that scores the same, and after the last one, likewise.
        of_class: the rows of the class before each position, [..., classes, rows + 1].
    """

    is_of: Tensor
    first: Tensor
    after: Tensor
    of_class: Tensor


Fraction = Callable[[Counts], tuple[Tensor, Tensor]]
"""A part and its whole, [..., classes]."""
Counted = Callable[[Counts], Tensor]
"""A score from counted rows, [...]."""
Area = Callable[[Ranking], Tensor]
"""A value for each class, [..., classes]."""

_SMALLEST_TRUTH = 1.17e-06
"""Relative errors are relative to at least this (torchmetrics.functional.regression.mape)."""


def recall_fraction(counts: Counts) -> tuple[Tensor, Tensor]:
    """The share of right rows among those of a class."""
    return counts.right, counts.true


def precision_fraction(counts: Counts) -> tuple[Tensor, Tensor]:
    """The share of right rows among those guessed to be of a class; 0 for a class that is never guessed."""
    return counts.right, counts.guessed


def specificity_fraction(counts: Counts) -> tuple[Tensor, Tensor]:
    """Of the rows that are not of a class, the share that is not guessed to be."""
    others = counts.rows - counts.true
    return others - counts.guessed + counts.right, others


def f1_fraction(counts: Counts) -> tuple[Tensor, Tensor]:
    """The harmonic mean of precision and recall."""
    return 2 * counts.right, counts.true + counts.guessed


def jaccard_fraction(counts: Counts) -> tuple[Tensor, Tensor]:
    """Right rows of a class among those that are of it or are guessed to be."""
    return counts.right, counts.true + counts.guessed - counts.right


@dataclass(frozen=True)
class OfCounts:
    """A score of predicted classes that depends on the counts of true and predicted classes alone."""

    counted: Counted

    def __call__(self, probabilities: Tensor, classes: Tensor) -> Tensor:
        number = probabilities.shape[-1]
        guesses = probabilities.argmax(-1)
        cells = (classes * number + guesses).flatten(0, -2) if guesses.dim() > 1 else (classes * number + guesses)[None]
        confusion = cells.new_zeros(len(cells), number * number).scatter_add(-1, cells, torch.ones_like(cells)).double()
        return self.counted(counts_of(confusion.view(*guesses.shape[:-1], number, number)))


def averaged(fraction: Fraction, average: Average) -> OfCounts:
    """A score from a fraction of counted rows, averaged as scikit-learn does; an index means that class alone."""

    def counted(counts: Counts) -> Tensor:
        part, whole = fraction(counts)
        if average == "micro":
            return _share(part.sum(-1), whole.sum(-1))
        values = _share(part, whole)
        if average == "macro":
            return _macro(values, counts.true + counts.guessed)
        return (
            (values * counts.true).sum(-1) / counts.rows.squeeze(-1) if average == "weighted" else values[..., average]
        )

    return OfCounts(counted)


def accuracy_of(counts: Counts) -> Tensor:
    """The share of right rows."""
    return counts.right.sum(-1) / counts.rows.squeeze(-1)


def mcc_of(counts: Counts) -> Tensor:
    """Matthews' correlation coefficient (Gorodkin 2004).

    Where only one class is true, or only one guessed, it is 0 of several classes. For two classes torchmetrics takes
    the limit of Chicco and Jurman 2020, which is 1 where all rows are right and -1 where none is.
    """
    right, true, guessed, rows = counts
    rows, hits = rows.squeeze(-1), right.sum(-1)
    covariance = hits * rows - (true * guessed).sum(-1)
    spread = (rows**2 - (guessed**2).sum(-1)) * (rows**2 - (true**2).sum(-1))
    defined = covariance / spread.sqrt()
    if right.shape[-1] != 2:
        return torch.where(spread == 0, 0.0, defined)
    misses = rows - hits
    limit = (hits - misses) / (rows * hits * misses).sqrt()
    limit = torch.where(misses == 0, 1.0, torch.where(hits == 0, -1.0, limit))
    return torch.where(spread == 0, limit, defined)


def kappa_of(counts: Counts) -> Tensor:
    """Cohen's kappa; NaN where all rows are of one class and are guessed to be."""
    right, true, guessed, rows = counts
    rows = rows.squeeze(-1)
    return 1 - (rows - right.sum(-1)) / (rows - (true * guessed).sum(-1) / rows)


accuracy, mcc, kappa = OfCounts(accuracy_of), OfCounts(mcc_of), OfCounts(kappa_of)
balanced_accuracy = averaged(recall_fraction, "macro")
"""The mean of the classes' recall."""


def auroc_of_classes(ranking: Ranking) -> Tensor:
    """The area under the ROC curve of each class against the others.

    It is the share of pairs of a row of the class and another row in which the former scores higher; ties count half.
    """
    is_of, first, after, of_class = ranking
    others_below, others_up_to = first - of_class.gather(-1, first), after - of_class.gather(-1, after)
    positives = of_class[..., -1]
    pairs = (is_of * (others_below + others_up_to)).sum(-1).double() / 2
    return pairs / (positives * (is_of.shape[-1] - positives))


def average_precision_of_classes(ranking: Ranking) -> Tensor:
    """The area under the steps of each class's precision-recall curve."""
    is_of, first, _, of_class = ranking
    positives = of_class[..., -1]
    # Of the rows that score as high as a row or higher, the share that is of the class.
    precisions = (positives.unsqueeze(-1) - of_class.gather(-1, first)).double() / (is_of.shape[-1] - first)
    return (is_of * precisions).sum(-1) / positives


def ranked(area: Area, average: Average) -> Score:
    """A score from each class's ranking of the rows, averaged over the classes that have rows.

    The average `micro` ranks all pairs of a row and a class at once, as scikit-learn does. NaN where there is nothing
    to rank a class against.
    """

    def score(probabilities: Tensor, classes: Tensor) -> Tensor:
        number = probabilities.shape[-1]
        is_of = classes.unsqueeze(-2) == torch.arange(number, device=classes.device).unsqueeze(-1)
        if average == "micro":
            scores = probabilities.transpose(-1, -2).flatten(-2).unsqueeze(-2)
            return area(_ranked(scores, is_of.flatten(-2).unsqueeze(-2))).squeeze(-1)
        ranking = _ranked(probabilities.transpose(-1, -2).contiguous(), is_of)
        values, positives = area(ranking), ranking.of_class[..., -1]
        if isinstance(average, int):
            some = (positives[..., average] > 0) & (positives[..., average] < is_of.shape[-1])
            return torch.where(some, values[..., average], torch.nan)
        weights = positives.double() if average == "weighted" else (positives > 0).double()
        mean = torch.where(positives > 0, values * weights, 0.0).sum(-1) / weights.sum(-1)
        return torch.where((positives > 0).sum(-1) > 1, mean, torch.nan)

    return score


auroc = ranked(auroc_of_classes, "macro")
average_precision = ranked(average_precision_of_classes, "macro")


def calibration_error(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The expected calibration error of the guessed class in 15 bins of equal width (Naeini et al. 2015)."""
    confidence, guess = probabilities.max(-1)
    edges = torch.linspace(0, 1, 16, dtype=confidence.dtype, device=confidence.device)
    # A confidence of exactly 1 has a bin of its own.
    bins = torch.bucketize(confidence.contiguous(), edges, right=True) - 1
    gap = (guess == classes).double() - confidence.double()
    # |accuracy - confidence| of a bin, weighted by its rows, is the sum of its gaps.
    gaps = gap.new_zeros(*gap.shape[:-1], 16).scatter_add(-1, bins, gap)
    return gaps.abs().sum(-1) / gap.shape[-1]


def mse(values: Tensor, truth: Tensor) -> Tensor:
    """The mean squared error."""
    return _error(values, truth).square().mean((-2, -1))


def rmse(values: Tensor, truth: Tensor) -> Tensor:
    """The root of the mean squared error of each target."""
    return _error(values, truth).square().mean(-2).sqrt().mean(-1)


def mae(values: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute error."""
    return _error(values, truth).abs().mean((-2, -1))


def mape(values: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute error relative to the truth."""
    return (_error(values, truth).abs() / truth.double().abs().clamp(min=_SMALLEST_TRUTH)).mean((-2, -1))


def smape(values: Tensor, truth: Tensor) -> Tensor:
    """The mean absolute error relative to the mean of both sizes."""
    sizes = values.double().abs() + truth.double().abs()
    return (2 * _error(values, truth).abs() / sizes.clamp(min=_SMALLEST_TRUTH)).mean((-2, -1))


def msle(values: Tensor, truth: Tensor) -> Tensor:
    """The mean squared difference of log(1 + x); NaN where a value is below -1."""
    return (values.double().log1p() - truth.double().log1p()).square().mean((-2, -1))


def r2(values: Tensor, truth: Tensor) -> Tensor:
    """The coefficient of determination; NaN for one row. As in torchmetrics a sum of squares up to 1e-4 counts as 0."""
    if values.shape[-2] < 2:
        return torch.full(values.shape[:-2], torch.nan, dtype=torch.float64, device=values.device)
    residual = _error(values, truth).square().sum(-2)
    return _explained(residual, _centred(truth).square().sum(-2).expand(residual.shape), zero=1e-4)


def explained_variance(values: Tensor, truth: Tensor) -> Tensor:
    """The share of the truth's variance that the errors' variance leaves."""
    residual = _centred(_error(values, truth)).square().mean(-2)
    return _explained(residual, _centred(truth).square().mean(-2).expand(residual.shape), zero=0.0)


def pearson(values: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation; NaN where either side is constant."""
    values, truth = _centred(values), _centred(truth)
    covariance, variances = (values * truth).sum(-2), values.square().sum(-2) * truth.square().sum(-2)
    return (covariance / variances.sqrt()).clamp(-1, 1).mean(-1)


def spearman(values: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation of the ranks, ties at their mean; 0 where either side is constant."""
    values, truth = _centred(_ranks(values)), _centred(_ranks(truth))
    deviations = (values.square().mean(-2) * truth.square().mean(-2)).sqrt()
    # torchmetrics.functional.regression.spearman adds this too.
    return ((values * truth).mean(-2) / (deviations + 1e-6)).clamp(-1, 1).mean(-1)


def counts_of(confusion: Tensor) -> Counts:
    """The counts of a confusion matrix [..., true class, predicted class], float64."""
    right, true, guessed = confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)
    return Counts(right, true, guessed, true.sum(-1, keepdim=True))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole != 0, part / whole, 0.0)


def _macro(scores: Tensor, rows: Tensor) -> Tensor:
    """The mean over the classes that rows are of, or are guessed to be of."""
    counts = (rows > 0).double()
    return (scores * counts).sum(-1) / counts.sum(-1)


def _ranked(scores: Tensor, is_of: Tensor) -> Ranking:
    """Rank rows by scores [..., classes, rows]; `is_of` says which are of the class, likewise."""
    scores, order = scores.sort(-1)
    is_of = is_of.expand(order.shape).gather(-1, order)
    first, after = torch.searchsorted(scores, scores), torch.searchsorted(scores, scores, right=True)
    return Ranking(is_of, first, after, torch.nn.functional.pad(is_of.cumsum(-1), (1, 0)))


def _error(values: Tensor, truth: Tensor) -> Tensor:
    return values.double() - truth.double()


def _centred(values: Tensor) -> Tensor:
    values = values.double()
    return values - values.mean(-2, keepdim=True)


def _explained(residual: Tensor, total: Tensor, zero: float) -> Tensor:
    """1 - residual / total of each target, averaged; 1 where there is no residual, and 0 where there is no total."""
    shares = torch.where(total > zero, 1 - residual / total, 0.0)
    return torch.where(residual > zero, shares, 1.0).mean(-1)


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1 along the rows; ties have their mean."""
    columns = values.transpose(-1, -2).contiguous()
    ordered = columns.sort(-1).values
    below, up_to = torch.searchsorted(ordered, columns), torch.searchsorted(ordered, columns, right=True)
    return ((below + up_to + 1) / 2).transpose(-1, -2)

"""Metrics of classifiers and regressors as torch code on the device, for one model or for several stacked ones.

Classifiers take class probabilities [..., rows, classes] and the classes int64 [..., rows]; regressors take values and
truth, both [..., rows, targets]. Leading axes are models, and what is missing from the target's broadcasts. Each gives
float64 [...], NaN where it is not defined.

The definitions are those of torchmetrics 1.9 for multi-class and for single-output metrics, computed in float64; where
torchmetrics departs from the textbook, a comment says how. Averages over classes are macro averages.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Score = Callable[[Tensor, Tensor], Tensor]

_SMALLEST_TRUTH = 1.17e-06
"""Relative errors are relative to at least this (torchmetrics.functional.regression.mape)."""


def accuracy(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The share of right rows."""
    return (probabilities.argmax(-1) == classes).double().mean(-1)


def balanced_accuracy(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The mean of the classes' recall."""
    right, true, guessed, _ = _counts(probabilities, classes)
    return _macro(_share(right, true), true + guessed)


recall = balanced_accuracy


def precision(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The share of right rows among those guessed to be of a class; 0 for a class that is never guessed."""
    right, true, guessed, _ = _counts(probabilities, classes)
    return _macro(_share(right, guessed), true + guessed)


def specificity(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Of the rows that are not of a class, the share that is not guessed to be."""
    right, true, guessed, rows = _counts(probabilities, classes)
    return _macro(_share(rows - true - guessed + right, rows - true), true + guessed)


def f1(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The harmonic mean of precision and recall."""
    right, true, guessed, _ = _counts(probabilities, classes)
    return _macro(_share(2 * right, true + guessed), true + guessed)


def jaccard(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Right rows of a class among those that are of it or are guessed to be."""
    right, true, guessed, _ = _counts(probabilities, classes)
    return _macro(_share(right, true + guessed - right), true + guessed)


def mcc(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Matthews' correlation coefficient (Gorodkin 2004).

    Where only one class is true, or only one guessed, it is 0 of several classes. For two classes torchmetrics takes
    the limit of Chicco and Jurman 2020, which is 1 where all rows are right and -1 where none is.
    """
    right, true, guessed, rows = _counts(probabilities, classes)
    rows, hits = rows.squeeze(-1), right.sum(-1)
    covariance = hits * rows - (true * guessed).sum(-1)
    spread = (rows**2 - (guessed**2).sum(-1)) * (rows**2 - (true**2).sum(-1))
    defined = covariance / spread.sqrt()
    if probabilities.shape[-1] != 2:
        return torch.where(spread == 0, 0.0, defined)
    misses = rows - hits
    limit = (hits - misses) / (rows * hits * misses).sqrt()
    limit = torch.where(misses == 0, 1.0, torch.where(hits == 0, -1.0, limit))
    return torch.where(spread == 0, limit, defined)


def kappa(probabilities: Tensor, classes: Tensor) -> Tensor:
    """Cohen's kappa; NaN where all rows are of one class and are guessed to be."""
    right, true, guessed, rows = _counts(probabilities, classes)
    rows = rows.squeeze(-1)
    return 1 - (rows - right.sum(-1)) / (rows - (true * guessed).sum(-1) / rows)


def auroc(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The area under the ROC curve of each class against the others, averaged over the classes that have rows.

    It is the share of pairs of a row of the class and another row in which the former scores higher; ties count half.
    """
    is_of, first, after, of_class = _ranked(probabilities, classes)
    others_below, others_up_to = first - of_class.gather(-1, first), after - of_class.gather(-1, after)
    positives = of_class[..., -1]
    pairs = (is_of * (others_below + others_up_to)).sum(-1).double() / 2
    return _over_present(pairs / (positives * (is_of.shape[-1] - positives)), positives)


def average_precision(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The area under the steps of each class's precision-recall curve, averaged over the classes that have rows."""
    is_of, first, _, of_class = _ranked(probabilities, classes)
    positives = of_class[..., -1]
    # Of the rows that score as high as a row or higher, the share that is of the class.
    precisions = (positives.unsqueeze(-1) - of_class.gather(-1, first)).double() / (is_of.shape[-1] - first)
    return _over_present((is_of * precisions).sum(-1) / positives, positives)


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


def _counts(probabilities: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows guessed right, of each class, and guessed to be of it, [..., classes]; and all rows, [..., 1]."""
    number = probabilities.shape[-1]
    guesses = probabilities.argmax(-1)
    cells = (classes * number + guesses).flatten(0, -2) if guesses.dim() > 1 else (classes * number + guesses)[None]
    confusion = cells.new_zeros(len(cells), number * number).scatter_add(-1, cells, torch.ones_like(cells)).double()
    confusion = confusion.view(*guesses.shape[:-1], number, number)
    right, true, guessed = confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(-1), confusion.sum(-2)
    return right, true, guessed, true.sum(-1, keepdim=True)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole != 0, part / whole, 0.0)


def _macro(scores: Tensor, rows: Tensor) -> Tensor:
    """The mean over the classes that rows are of, or are guessed to be of."""
    counts = (rows > 0).double()
    return (scores * counts).sum(-1) / counts.sum(-1)


def _ranked(probabilities: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each class the rows in ascending order of its probability.

    Returns:
        Whether a row is of the class [..., classes, rows]; the positions of the first row that scores the same, and
        after the last one, likewise; and the rows of the class before each position, [..., classes, rows + 1].
    """
    scores, order = probabilities.transpose(-1, -2).contiguous().sort(-1)
    labels = torch.arange(probabilities.shape[-1], device=classes.device).unsqueeze(-1)
    is_of = (classes.unsqueeze(-2) == labels).expand(order.shape).gather(-1, order)
    first, after = torch.searchsorted(scores, scores), torch.searchsorted(scores, scores, right=True)
    return is_of, first, after, torch.nn.functional.pad(is_of.cumsum(-1), (1, 0))


def _over_present(scores: Tensor, rows: Tensor) -> Tensor:
    """The mean over the classes that have rows; NaN where that is one class, with nothing to rank it against."""
    is_present = rows > 0
    number = is_present.sum(-1)
    mean = torch.where(is_present, scores, 0.0).sum(-1) / number
    return torch.where(number > 1, mean, torch.nan)


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

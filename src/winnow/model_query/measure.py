"""Metrics of a version's answers, with bounds: by resampling rows, the same ones for both versions of a comparison.

A bootstrap sees no error that the rows do not have: ten right rows would show an accuracy of 1. So each resample of
classified rows has on average one row more, with the answer that the version gives to a row of another class. For an
accuracy this is near to the exact bound of Clopper and Pearson, which counts one error more, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from winnow import fixed_sample
from winnow.bundle.manifest import Manifest
from winnow.config.errors import InputError
from winnow.config.experiment import MetricConfig
from winnow.config.functions import names_function
from winnow.model_query.evidence import Answers
from winnow.training import scores
from winnow.training.metrics import LOSS, Goal, Outputs, specs_of
from winnow.training.scores import Counted, Counts, OfCounts, Score

Floats = NDArray[np.float64]
Indexes = NDArray[np.int64]
FEWEST_ROWS = 30
"""Fewer rows have no bounds: percentiles of so few are far from what they stand for."""
RESAMPLES, MOST_ROWS = 2000, 2500
"""A metric that is not one of counted rows is computed for half as many resamples, of this many rows at most."""
_AT_ONCE = 4_000_000
"""Numbers of one step, for memory."""


@dataclass(frozen=True)
class Measure:
    """A metric of answers.

    Attributes:
        name: for people.
        goal: the better direction; None where it is not known.
        score: computes it from outputs and target, as `MetricSpec.score`.
        is_of_labels: whether it depends on the predicted classes alone.
        takes_stacks: whether `score` takes leading axes; a function of the user's own does not.
    """

    name: str
    goal: Goal | None
    score: Score
    is_of_labels: bool = False
    takes_stacks: bool = True

    def of(self, answers: Answers, target: NDArray[np.generic]) -> float:
        """Its value; NaN where it is not defined for these rows."""
        return float(self.score(self.inputs(answers), _truth(target, answers.manifest)))

    def inputs(self, answers: Answers) -> Tensor:
        """What it is computed from: outputs, or 1 for the predicted class and 0 for the others, [rows, outputs]."""
        outputs = torch.from_numpy(np.ascontiguousarray(answers.outputs))
        if not self.is_of_labels:
            return outputs
        return torch.nn.functional.one_hot(torch.from_numpy(answers.labels), outputs.shape[1]).float()


@dataclass(frozen=True)
class Estimate:
    """A number measured on rows.

    Attributes:
        low, high: bounds, each at the α that was asked for; None with too few rows.
        n: rows.
    """

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Draws:
    """A metric of resampled rows, for each version.

    Attributes:
        plain: float64 [versions, resamples].
        worse: the same with the mistaken rows.
    """

    plain: Floats
    worse: Floats


def aligned(answers: Answers, names: tuple[str, ...]) -> Answers:
    """The same answers with the classes in the order of `names`."""
    manifest = answers.manifest
    if manifest.class_names is None or manifest.class_names == names:
        return answers
    order = [manifest.class_names.index(name) for name in names]
    return replace(
        answers, outputs=answers.outputs[:, order], manifest=msgspec.structs.replace(manifest, class_names=names)
    )


def measure_of(config: MetricConfig, manifest: Manifest, place: str) -> Measure:
    """The metric that a gate names, for the versions of a model.

    Args:
        place: its key, for errors.

    Raises InputError where there is none of that name, or it does not fit the model's task and classes.
    """
    names = manifest.class_names
    positive = names.index(manifest.positive) if names and manifest.positive else None
    specs = specs_of(config, Outputs(manifest.task, len(names or manifest.target_names), names, positive), place)
    if len(specs) != 1:
        raise InputError(
            place,
            expected="a metric with one value",
            found="`average: none`, which gives one for each class",
            remedy=f"Name the class: {{name: {config.name}, class: …}}.",
        )
    spec = specs[0]
    goal = config.goal or spec.goal
    if spec.score is not None:
        return Measure(spec.name, goal, spec.score, spec.is_of_labels, takes_stacks=not names_function(config.name))
    if manifest.task == "classification" and config.name != LOSS:
        return Measure(spec.name, goal, _log_loss)
    raise InputError(
        place,
        expected="a metric of the predictions",
        found=f"'{config.name}', which needs the training's loss function",
        remedy="Take log_loss for classification, or mse, mae or another metric for regression.",
    )


def rate_of(name: str, manifest: Manifest) -> Measure | None:
    """A rate of the positive class, for fairness: selection_rate, true_positive_rate or false_positive_rate.

    None for another name, or where there are not two classes. The positive class is the manifest's, else the second.
    """
    names = manifest.class_names
    if name not in _RATES or names is None or len(names) != 2:
        return None
    positive, rate = names.index(manifest.positive) if manifest.positive else 1, _RATES[name]
    return Measure(name, None, OfCounts(lambda counts: rate(counts, positive)), is_of_labels=True)


def estimate(measure: Measure, answers: Answers, target: NDArray[np.generic], alpha: float) -> Estimate:
    """A version's metric with bounds.

    Args:
        target: as in `Evidence`.
        alpha: of each bound.
    """
    value = measure.of(answers, target)
    if len(target) < FEWEST_ROWS:
        return Estimate(value, None, None, len(target))
    draws = resample(measure, [answers], target)
    return _bounded(value, draws.worse[0], draws.plain[0], len(target), alpha)


def difference(
    measure: Measure,
    one: Answers,
    other: Answers,
    target: NDArray[np.generic],
    alpha: float,
    *,
    is_relative: bool = False,
) -> Estimate:
    """By how much one version is better than the other on the same rows, with bounds: a paired bootstrap.

    Args:
        is_relative: as a share of the other's value.

    Returns:
        Above 0 where `one` is better, whatever the metric's goal.
    """

    def better_by(first: Floats, second: Floats) -> Floats:
        sign = -1.0 if measure.goal == "minimize" else 1.0
        gain = sign * (first - second)
        if not is_relative:
            return gain
        return np.asarray(np.divide(gain, np.abs(second), out=np.full(gain.shape, np.nan), where=second != 0))

    value = float(better_by(*(np.asarray(measure.of(each, target)) for each in (one, other))))
    if len(target) < FEWEST_ROWS:
        return Estimate(value, None, None, len(target))
    draws = resample(measure, [one, other], target)
    (plain, other_plain), (worse, other_worse) = draws.plain, draws.worse
    return _bounded(value, better_by(worse, other_plain), better_by(plain, other_worse), len(target), alpha)


def resample(
    measure: Measure, versions: Sequence[Answers], target: NDArray[np.generic], seed: int = 0, most: int = RESAMPLES
) -> Draws:
    """The metric of resampled rows, the same rows for all versions and, with the same seed, in every call."""
    random = np.random.default_rng(seed)
    if isinstance(measure.score, OfCounts):
        guesses = [each.labels for each in versions]
        classes = versions[0].outputs.shape[1]
        return _by_cells(measure.score.counted, guesses, np.asarray(target, dtype=np.int64), classes, most, random)
    return _by_rows(measure, versions, target, most, random)


def _bounded(value: float, worse: Floats, plain: Floats, rows: int, alpha: float) -> Estimate:
    """Bounds that hold whichever direction the mistaken rows move the metric in."""
    if np.isnan(worse).all() or np.isnan(plain).all():
        return Estimate(value, None, None, rows)
    found = [fixed_sample.bootstrap_bounds(each, each, rows, alpha) for each in (worse, plain)]
    return Estimate(value, min(low for low, _ in found), max(high for _, high in found), rows)


def _by_cells(
    counted: Counted,
    guesses: Sequence[Indexes],
    target: Indexes,
    classes: int,
    resamples: int,
    random: np.random.Generator,
) -> Draws:
    """Rows matter by their true and predicted classes alone: a resample draws how many rows each combination has."""
    n, other = len(target), _other_rows(target, random)
    codes = target
    for guess in guesses:
        codes = codes * classes + guess
    _, first, rows_of = np.unique(codes, return_index=True, return_counts=True)
    step = max(1, _AT_ONCE // (len(first) + 2 * classes**2))
    found = []
    for start in range(0, resamples, step):
        number = min(step, resamples - start)
        mistaken = random.binomial(n, 1 / (n + 1), number)
        drawn = random.multinomial(n - mistaken, rows_of / n)
        at, row = np.repeat(np.arange(number), mistaken), random.integers(n, size=mistaken.sum())

        def values(
            guess: Indexes, answer: Indexes, drawn: Indexes = drawn, at: Indexes = at, row: Indexes = row
        ) -> Floats:
            confusion = _summed(target[first] * classes + guess[first], drawn, classes**2)
            np.add.at(confusion, (at, target[row] * classes + guess[answer]), 1)
            counts = scores.counts_of(torch.from_numpy(confusion.reshape(-1, classes, classes)))
            return np.asarray(counted(counts))

        answered = other(row)
        found.append([[values(guess, answer) for guess in guesses] for answer in (row, answered)])
    return Draws(*np.concatenate(found, axis=-1))


def _summed(cells: Indexes, drawn: Indexes, number: int) -> Floats:
    """Sums of columns [resamples, columns] by the cell of each column, [resamples, number of cells]."""
    order = np.argsort(cells, kind="stable")
    present, starts = np.unique(cells[order], return_index=True)
    sums = np.zeros((len(drawn), number))
    sums[:, present] = np.add.reduceat(drawn[:, order], starts, axis=1)
    return sums


def _by_rows(
    measure: Measure, versions: Sequence[Answers], target: NDArray[np.generic], most: int, random: np.random.Generator
) -> Draws:
    """Resamples of m of n rows; with m < n their deviations are brought to those of n rows by √(m / n).

    Source: Bickel, Götze and van Zwet, "Resampling fewer than n observations", Statistica Sinica 7, 1997.
    """
    n, m, manifest = len(target), min(len(target), MOST_ROWS), versions[0].manifest
    truth, inputs = _truth(target, manifest), [measure.inputs(each) for each in versions]
    step, shrinkage = max(1, _AT_ONCE // (m * inputs[0].shape[1])) if measure.takes_stacks else 1, math.sqrt(m / n)
    other = _other_rows(np.asarray(target, dtype=np.int64), random) if manifest.task == "classification" else None
    # Written into one array: kept one by one, small results would keep the heap from being used again.
    found = np.empty((2, len(versions), most // 2))
    for start in range(0, most // 2, step):
        rows = random.integers(n, size=(min(step, most // 2 - start), m))
        part = found[..., start : start + len(rows)]
        part[:] = [_scored(measure, each, truth, rows, rows) for each in inputs]
        if other is not None:
            is_mistaken = random.random(rows.shape) < shrinkage / m
            answered = rows.copy()
            answered[is_mistaken] = other(rows[is_mistaken])
            part[1] = [_scored(measure, each, truth, answered, rows) for each in inputs]
    whole = np.array([[float(measure.score(each, truth))] for each in inputs])
    return Draws(*(whole + (found - whole) * shrinkage))


def _scored(measure: Measure, inputs: Tensor, truth: Tensor, answered: Indexes, rows: Indexes) -> Floats:
    if measure.takes_stacks:
        return np.asarray(measure.score(inputs[torch.from_numpy(answered)], truth[torch.from_numpy(rows)]))
    return np.array(
        [float(measure.score(inputs[answer], truth[row])) for answer, row in zip(answered, rows, strict=True)]
    )


def _other_rows(target: Indexes, random: np.random.Generator) -> Callable[[Indexes], Indexes]:
    """For each of some rows a random row of another class, or the row itself where there is one class alone."""
    order, n = np.argsort(target, kind="stable"), len(target)
    sizes = np.bincount(target)
    starts = np.cumsum(sizes) - sizes

    def other(rows: Indexes) -> Indexes:
        own = target[rows]
        others = n - sizes[own]
        drawn = (random.random(len(rows)) * others).astype(np.int64)
        drawn += np.where(drawn >= starts[own], sizes[own], 0)
        return np.where(others > 0, order[np.minimum(drawn, n - 1)], rows)

    return other


def _truth(target: NDArray[np.generic], manifest: Manifest) -> Tensor:
    if manifest.task == "classification":
        return torch.from_numpy(np.asarray(target, dtype=np.int64))
    return torch.from_numpy(np.asarray(target, dtype=np.float64).reshape(len(target), -1))


def _log_loss(probabilities: Tensor, classes: Tensor) -> Tensor:
    """The mean of -log of the true class's probability."""
    of_true = probabilities.gather(-1, classes.unsqueeze(-1)).double().squeeze(-1)
    return -of_true.clamp_min(torch.finfo(torch.float32).tiny).log().mean(-1)


_RATES: dict[str, Callable[[Counts, int], Tensor]] = {
    "selection_rate": lambda found, positive: found.guessed[..., positive] / found.rows.squeeze(-1),
    "true_positive_rate": lambda found, positive: found.right[..., positive] / found.true[..., positive],
    "false_positive_rate": lambda found, positive: (
        (found.guessed - found.right)[..., positive] / found.true[..., 1 - positive]
    ),
}

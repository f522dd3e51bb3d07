"""Preprocessing that is fitted to the training rows and exported with the model, so that clients send raw inputs.

Statistics are computed in float64 over the present values and stored in float32. A missing number becomes the training
mean (or median). This is the only module of the folder that imports torch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from winnow.data.inputs import Category, InputPlan, Scaling
from winnow.data.rows import BLOCK_BYTES, FeatureRows, RowSource, rows_in, spread

FEWEST_ROWS = 5
RARE_SHARE = 100
"""A category is rare with fewer than 5 training rows, or, in small data, with fewer than one in 100 of them."""
BLOCK_ELEMENTS = 2**22
"""How many numbers are converted to float64 at once: 32 MiB."""


class Impute(nn.Module):
    """Replaces missing values by the training mean."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        """Take a `mean` that broadcasts against a batch [batch, *input_shape]."""
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(torch.isnan(inputs), self.mean, inputs)


class _Moments(nn.Module):
    """The training mean and standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Take statistics that broadcast against a batch; `std` holds no 0."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)


class Standardize(_Moments):
    """Subtracts the training mean and divides by the training standard deviation; a missing value becomes 0."""

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = (inputs - self.mean) / self.std
        return torch.where(torch.isnan(scaled), torch.zeros_like(scaled), scaled)


class ColumnInputs(nn.Module):
    """Turns encoded columns into a network's inputs, as an `InputPlan` says.

    Rows of a table are of codes: -1 (unknown), the categories, and a missing one. The inputs of embedded columns are
    codes, too, from 0; `winnow.training.fitting` looks up their vectors.
    """

    scaled: Tensor
    indicated: Tensor
    cycles: Tensor
    first: Tensor
    frequencies: Tensor
    categories: Tensor
    missing: Tensor
    embedded: Tensor

    def __init__(self, plan: InputPlan, scale: nn.Module, one_hot: list[Tensor], embedded: list[Tensor]) -> None:
        """Take what is fitted.

        Args:
            scale: for the scaled numbers, [batch, numbers].
            one_hot: for each such column a table [categories + 2, inputs].
            embedded: for each such column a table [categories + 2] of codes.
        """
        super().__init__()
        self.scale = scale
        categories = (*plan.one_hot, *plan.embedded)
        # Where each embedded column's part begins in the table of all of them.
        starts = np.cumsum([0, *(len(table) for table in embedded)])[:-1]
        first = [1] * len(plan.one_hot) + [1 + int(start) for start in starts]
        last = [before + category.count for before, category in zip(first, categories, strict=True)]
        for name, values in {
            "scaled": plan.scaled,
            "indicated": plan.indicated,
            "cycles": [index for index, _ in plan.cycles],
            "categories": [category.index for category in categories],
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64))
        self.register_buffer("frequencies", torch.tensor([2 * math.pi / length for _, length in plan.cycles]))
        self.register_buffer("first", torch.tensor(first, dtype=torch.float32))
        self.register_buffer("missing", torch.tensor(last, dtype=torch.float32))
        for column, table in enumerate(one_hot):
            self.register_buffer(f"one_hot_{column}", table)
        self.register_buffer("embedded", torch.cat(embedded)[:, None] if embedded else torch.empty(0, 1))
        self.one_hot = len(one_hot)

    def forward(self, inputs: Tensor) -> Tensor:
        parts = []
        if len(self.scaled):
            parts.append(self.scale(torch.index_select(inputs, 1, self.scaled)))
        if len(self.indicated):
            parts.append(torch.isnan(torch.index_select(inputs, 1, self.indicated)).float())
        if len(self.cycles):
            angles = torch.index_select(inputs, 1, self.cycles) * self.frequencies
            waves = (torch.sin(angles), torch.cos(angles))
            parts += [torch.where(torch.isnan(wave), torch.zeros_like(wave), wave) for wave in waves]
        if len(self.categories):
            codes = torch.index_select(inputs, 1, self.categories)
            rows = torch.where(torch.isnan(codes), self.missing, codes + self.first).long()
            tables = [getattr(self, f"one_hot_{column}") for column in range(self.one_hot)]
            parts += [functional.embedding(rows.select(1, column), table) for column, table in enumerate(tables)]
            if len(self.embedded):
                rest = rows.narrow(1, self.one_hot, len(self.categories) - self.one_hot)
                parts.append(functional.embedding(rest, self.embedded).flatten(1))
        return torch.cat(parts, 1)


def fit_preprocessing(features: FeatureRows, plan: InputPlan | None, scaling: Scaling) -> nn.Module:
    """Fit the preprocessing of inputs to training rows.

    Args:
        features: the training rows, [rows, *raw_shape], NaN where a value is missing.
        plan: of a table whose columns are not numbers alone.

    Returns:
        A module from raw rows to preprocessed ones without missing values: of the same shape, or as the plan says.
    """
    if plan is None or isinstance(features, RowSource):
        return fit_scaling(features, scaling)
    codes = [(category, _code_counts(features[:, category.index], category)) for category in plan.one_hot]
    one_hot = [_one_hot_table(category, counts, is_centered=scaling != "none") for category, counts in codes]
    embedded = [
        torch.from_numpy(_codes_of(category, _code_counts(features[:, category.index], category)).astype(np.float32))
        for category in plan.embedded
    ]
    return ColumnInputs(plan, fit_scaling(features[:, list(plan.scaled)], scaling), one_hot, embedded)


def _code_counts(codes: NDArray[np.float32], category: Category) -> NDArray[np.int64]:
    """Training rows of each code, [categories + 2]: unknown (none has one), the categories, and missing."""
    places = np.where(np.isnan(codes), category.count, codes).astype(np.int64) + 1
    return np.bincount(places, minlength=category.count + 2)


def _codes_of(category: Category, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The code of an input, [categories + 2]: 0 for unknown, rare and untrained ones, then the categories, missing."""
    fewest = max(1, min(FEWEST_ROWS, int(counts.sum()) // RARE_SHARE))
    codes = np.arange(len(counts))
    codes[1:-1][counts[1:-1] < fewest] = 0
    codes[-1] = category.count + 1 if category.has_missing and counts[-1] else 0
    return codes


def _one_hot_table(category: Category, counts: NDArray[np.int64], *, is_centered: bool) -> Tensor:
    """The inputs of each code, [categories + 2, codes].

    A code without training rows gets the mean of the training rows, since its weight would stay as it was drawn.
    """
    codes = _codes_of(category, counts)
    table = np.eye(category.codes)[codes]
    mean = counts @ table / max(1, counts.sum())
    is_learned = np.bincount(codes, weights=counts, minlength=category.codes)[codes] > 0
    table[~is_learned] = mean
    return torch.from_numpy((table - mean if is_centered else table).astype(np.float32))


def fit_scaling(features: FeatureRows, scaling: Scaling) -> nn.Module:
    """Fit the scaling of numbers.

    Vectors [rows, columns] are scaled by column, images [rows, channels, height, width] and volumes by channel,
    anything else as a whole.

    Args:
        features: [rows, *shape], NaN where a value is missing.

    Returns:
        A module from [batch, *shape] to the same shape, without missing values.
    """
    over = {2: (0,), 3: (0, 1, 2)}.get(features.ndim, (0, *range(2, features.ndim)))
    mean, std = _moments(features, over)
    if scaling == "none":
        return Impute(mean)
    if scaling == "standard":
        return Standardize(mean, std)
    if isinstance(features, RowSource):
        # Quartiles cannot be added up over blocks; those of many rows are as good as those of all.
        features = features[spread(len(features), rows_in(BLOCK_BYTES, features.shape))]
    return Standardize(*_quartiles(features, over, std))


def _quartiles(values: NDArray[np.float32], over: tuple[int, ...], std: Tensor) -> tuple[Tensor, Tensor]:
    """The median, and the distance of the quartiles as in scikit-learn's RobustScaler; `std` where that is 0."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice")
        low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=over, keepdims=True)[:, 0]
    distance = high.astype(np.float64) - low
    spread = np.where(distance > np.finfo(np.float32).tiny, distance, std.numpy())
    return torch.from_numpy(np.nan_to_num(middle).astype(np.float32)), torch.from_numpy(spread.astype(np.float32))


class TargetScale(_Moments):
    """A regression target's mean and spread: the loss sees standardized values, users see the target's own units."""

    @classmethod
    def fit(cls, target: NDArray[Any]) -> TargetScale:
        """Fit to targets [rows, targets] of the training rows."""
        return cls(*_moments(target, (0,)))

    def scale(self, target: Tensor) -> Tensor:
        """From the target's own units to mean 0 and standard deviation 1."""
        return (target - self.mean) / self.std

    def unscale(self, output: Tensor) -> Tensor:
        """The inverse: from a network's outputs to the target's own units."""
        return output * self.std + self.mean

    def forward(self, output: Tensor) -> Tensor:
        """Unscale, as the last step of an exported model."""
        return self.unscale(output)


def _moments(values: NDArray[Any] | RowSource, over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation in float32 of the present values over the given axes.

    The first axis, the rows, is dropped; other reduced axes keep the length 1. Constant values get the standard
    deviation 1; scikit-learn's bound on the rounding error of a variance decides which are constant
    (`sklearn.preprocessing._data._is_constant_feature`). Values that are missing everywhere get the mean 0.
    """
    count, total = np.int64(0), np.float64(0)
    for block in _blocks(values):
        is_present = ~np.isnan(block)
        count = count + is_present.sum(axis=over, keepdims=True)
        total = total + np.where(is_present, block, 0).sum(axis=over, keepdims=True)
    count = np.maximum(count, 1)
    mean = total / count
    squares = sum(np.nansum((block - mean) ** 2, axis=over, keepdims=True) for block in _blocks(values))
    variance = squares / count
    rounding = np.finfo(np.float64).eps
    is_constant = variance <= count * rounding * variance + (count * mean * rounding) ** 2
    std = np.sqrt(np.where(is_constant, 1.0, variance))
    std = np.where(std < np.finfo(np.float32).tiny, 1.0, std)  # in float32 it would be 0
    return torch.from_numpy(mean[0].astype(np.float32)), torch.from_numpy(std[0].astype(np.float32))


def _blocks(values: NDArray[Any] | RowSource) -> Iterator[NDArray[np.float64]]:
    """The rows in float64, block by block, so that memory does not hold large data twice."""
    rows = max(1, BLOCK_ELEMENTS // max(1, math.prod(values.shape[1:])))
    for start in range(0, len(values), rows):
        yield values[start : start + rows].astype(np.float64)

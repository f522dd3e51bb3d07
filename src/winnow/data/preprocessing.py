"""Preprocessing that is fitted to the training rows and exported with the model, so that clients send raw inputs.

Statistics are computed in float64 over the present values and stored in float32. A missing value becomes the training
mean. This is the only module of the folder that imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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


def fit_standardize(features: NDArray[np.float32], enabled: bool) -> nn.Module:
    """Fit the preprocessing of inputs.

    Vectors [rows, columns] are standardized by column, images [rows, channels, height, width] and volumes by channel,
    anything else as a whole.

    Args:
        features: [rows, *input_shape], NaN where a value is missing.
        enabled: whether to standardize; otherwise missing values are filled and nothing else.

    Returns:
        A module from [batch, *input_shape] to the same shape, without missing values.
    """
    over = {2: (0,), 3: (0, 1, 2)}.get(features.ndim, (0, *range(2, features.ndim)))
    mean, std = _moments(features, over)
    return Standardize(mean, std) if enabled else Impute(mean)


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


def _moments(values: NDArray[Any], over: tuple[int, ...]) -> tuple[Tensor, Tensor]:
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


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The rows in float64, block by block, so that memory does not hold large data twice."""
    rows = max(1, BLOCK_ELEMENTS // max(1, math.prod(values.shape[1:])))
    for start in range(0, len(values), rows):
        yield values[start : start + rows].astype(np.float64)

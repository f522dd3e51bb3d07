"""What is fitted to the training rows and travels inside the exported model.

Clients send raw inputs. Statistics are computed in float64 over the present values and stored in
float32. A missing value becomes the training mean. The only module of this folder that imports torch.
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
"""Numbers converted to float64 at once: 32 MiB."""


class Impute(nn.Module):
    """Puts the training mean where a value is missing, and keeps all other values."""

    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        """`mean` broadcasts against a batch [batch, *input_shape]."""
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(torch.isnan(inputs), self.mean, inputs)


class Standardize(nn.Module):
    """Subtracts the training mean, divides by the training standard deviation; a missing value becomes 0, the mean."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Both broadcast against a batch [batch, *input_shape]; `std` holds no 0."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, inputs: Tensor) -> Tensor:
        scaled = (inputs - self.mean) / self.std
        return torch.where(torch.isnan(scaled), torch.zeros_like(scaled), scaled)


def fit_standardize(features: NDArray[np.float32], enabled: bool) -> nn.Module:
    """Fit the preprocessing of inputs.

    Vectors [rows, columns] are standardized by column, images [rows, channels, height, width] (and volumes) by channel,
    anything else as a whole.

    Args:
        features: [rows, *input_shape], NaN where a value is missing.
        enabled: whether to standardize; otherwise only missing values are filled.

    Returns:
        A module from [batch, *input_shape] to the same shape, without missing values.
    """
    over = _axes(features.ndim)
    mean, std = _moments(features, over)
    mean_tensor = torch.from_numpy(mean[0].astype(np.float32))
    if not enabled:
        return Impute(mean_tensor)
    return Standardize(mean_tensor, torch.from_numpy(std[0].astype(np.float32)))


class TargetScale(nn.Module):
    """A regression target's mean and spread: the loss sees values around 0, people see the target's own units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        """Both are [targets]; `std` holds no 0."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @classmethod
    def fit(cls, target: NDArray[Any]) -> TargetScale:
        """Fit to targets [rows, targets] of the training rows."""
        mean, std = _moments(target, (0,))
        return cls(torch.from_numpy(mean[0].astype(np.float32)), torch.from_numpy(std[0].astype(np.float32)))

    def scale(self, target: Tensor) -> Tensor:
        """From the target's own units to mean 0 and standard deviation 1."""
        return (target - self.mean) / self.std

    def unscale(self, output: Tensor) -> Tensor:
        """The inverse: from a network's outputs to the target's own units."""
        return output * self.std + self.mean

    def forward(self, output: Tensor) -> Tensor:
        """Unscale, as the last step of an exported model."""
        return self.unscale(output)


def _axes(dimensions: int) -> tuple[int, ...]:
    """The axes that one mean is taken over; the first is that of the rows."""
    if dimensions == 2:
        return (0,)
    if dimensions == 3:
        return (0, 1, 2)
    return (0, *range(2, dimensions))


def _moments(values: NDArray[Any], over: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of the present values, over the given axes, which stay with length 1.

    What does not vary gets the standard deviation 1, told with scikit-learn's bound on the rounding error of a variance
    (`sklearn.preprocessing._data._is_constant_feature`); what is missing everywhere gets the mean 0 too.
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
    # A spread below the smallest float32 would become 0 there, and divide by it.
    return mean, np.where(std < np.finfo(np.float32).tiny, 1.0, std)


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The rows in float64, a few at a time, so that large data is not held twice."""
    rows = max(1, BLOCK_ELEMENTS // max(1, math.prod(values.shape[1:])))
    for start in range(0, len(values), rows):
        yield values[start : start + rows].astype(np.float64)

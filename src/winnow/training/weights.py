"""What each row counts in the loss: its own weight times its class's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from winnow.config.errors import InputError
from winnow.data.classes import class_index
from winnow.data.dataset import DataSet

PLACE = "training.class_weights"
ClassWeights = Literal["balanced"] | Mapping[str, float] | None


def row_weights(data: DataSet, class_weights: ClassWeights, train: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """The weight of every row of the data set, float32 [rows]; None where all count alike.

    `balanced` gives a class the weight rows / (classes × rows of the class), counted in the training rows, as
    scikit-learn does. Classes that a mapping does not name have the weight 1.

    Raises:
        InputError: see `named_weights`.
    """
    if class_weights is None or data.class_names is None:
        return data.weights
    classes = len(data.class_names)
    if class_weights == "balanced":
        counts = np.bincount(data.target[train].astype(np.int64), minlength=classes)
        of_class = len(train) / (classes * np.maximum(counts, 1))
    else:
        of_class = named_weights(data, class_weights)
    weights = of_class[data.target.astype(np.int64)].astype(np.float32)
    return weights if data.weights is None else weights * data.weights


def named_weights(data: DataSet, weights: Mapping[str, float]) -> NDArray[np.float64]:
    """The weight of each class. Raises InputError if a class is not there, or none has a weight above 0."""
    names = data.class_names or ()
    of_class = np.ones(len(names))
    for name, weight in weights.items():
        of_class[class_index(name, names, f"{PLACE}.{name}")] = weight
    if not of_class.any():
        raise InputError(PLACE, expected="a weight above 0", found="0 for every class", remedy="Raise one.")
    return of_class


def shares_of_steps(weights: Tensor, rows_per_step: int) -> tuple[Tensor, Tensor]:
    """Each row's share of the weight of its optimizer step, and each step's of the epoch's.

    Args:
        weights: [..., rows] in the epoch's order.

    Returns:
        [..., rows] and [..., steps]; 0 where a step, or the epoch, has no weight.
    """
    step = torch.arange(weights.shape[-1], device=weights.device) // rows_per_step
    steps = -(-weights.shape[-1] // rows_per_step)
    totals = weights.new_zeros(*weights.shape[:-1], steps).index_add(-1, step, weights)
    smallest = torch.finfo(weights.dtype).tiny
    epoch = totals.sum(-1, keepdim=True).clamp_min(smallest)
    return weights / totals.clamp_min(smallest).index_select(-1, step), totals / epoch

"""A model factory and training functions of a person's own, as tests name them; they misbehave on demand."""

import math
import os
import sys

import numpy as np
import torch
from torch import nn


class Fault(nn.Module):
    """Raises on one rank, or where a package is loaded that a lone rank in float32 does without."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x):
        if self.fault == "rank 1" and os.environ.get("RANK") == "1":
            raise ValueError("rank 1 is guilty")
        loaded = {"accelerate", "torchmetrics", "torch._dynamo", "sympy"} & set(sys.modules)
        if self.fault == "imports" and loaded:
            raise ImportError(f"loaded: {sorted(loaded)}")
        return x


def build(input_shape, outputs, hidden=(8,), fault="none"):
    if fault == "raise":
        raise ValueError("no such network")
    if fault == "nothing":
        return None
    if fault == "memory":
        torch.empty(10**16)
    network = nn.Sequential(
        nn.Linear(input_shape[0], hidden[0]), nn.ReLU(), nn.Linear(hidden[0], outputs), Fault(fault)
    )
    if fault == "nan":
        nn.init.constant_(network[0].weight, float("nan"))
    return network


class Mixing(nn.Module):
    """Ends in a layer before which rows are mixed, or answers change by chance, or neither."""

    def __init__(self, width: int, outputs: int, how: str) -> None:
        super().__init__()
        self.how, self.normalize, self.last = how, nn.BatchNorm1d(width), nn.Linear(2 * width, outputs)

    def forward(self, x):
        if self.how == "view":
            return self.last(torch.cat([x, x]).view(x.shape[0], -1))
        both = torch.cat([x, self.normalize(x)], 1)
        return self.last(nn.functional.dropout(both) if self.how == "dropout" else both)


def mixing(input_shape, outputs, how="view"):
    return Mixing(input_shape[0], outputs, how)


def lazy(input_shape, outputs):
    return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(outputs))


def wide(input_shape, outputs):
    return nn.Linear(input_shape[0], outputs + 1)


def train_fold(fold, params):
    """Least squares on one-hot classes: a loop without epochs or gradients."""
    ones = torch.ones(len(fold.train_features), 1)
    scale = fold.train_features.std(0)
    inputs = torch.cat([fold.train_features / scale, ones], 1)
    target = nn.functional.one_hot(fold.train_target, fold.outputs).float()
    identity = torch.eye(inputs.shape[1])
    weights = torch.linalg.solve(inputs.T @ inputs + params["ridge"] * identity, inputs.T @ target)
    model = nn.Linear(fold.input_shape[0], fold.outputs)
    with torch.no_grad():
        model.weight.copy_((weights[:-1] / scale[:, None]).T)
        model.bias.copy_(weights[-1])
        right = model(fold.validation_features).argmax(1) == fold.validation_target
    fold.report(1, 1, 0.0)
    score = float("nan") if params["ridge"] < 0 else right.float().mean()
    returned = {"accuracy": score, "mine": 1.0}
    return returned if params.get("keeps_model", True) is False else {**returned, "model": model.eval()}


def train_fold_with_accelerator(fold, params):
    model = fold.accelerator.prepare(nn.Linear(fold.input_shape[0], fold.outputs))
    return {"accuracy": float(next(model.parameters()).device == fold.device), "model": model.eval()}


def train_fold_with_curves(fold, params):
    fold.report(1, 2, 1.0, accuracy=0.25)
    fold.report(2, 2, 0.5, accuracy=0.5, train_accuracy=0.75)
    return {"accuracy": 0.5}


def train_fold_with_nan(fold, params):
    fold.report(1, 2, math.nan, accuracy=math.inf)
    fold.report(np.int64(2), 2, np.float32(0.5))
    return {"accuracy": 0.5}


def train_fold_without_objective(fold, params):
    return {"mine": 1.0}


def unstackable(input_shape, outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 8), nn.PReLU(), nn.Linear(8, outputs))


def of_width(input_shape, outputs, width, kind):
    return nn.Sequential(nn.Linear(*input_shape, width), nn.Linear(width, outputs))

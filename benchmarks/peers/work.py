"""The work of `sweep.py`, the same for every peer: data, models, and one trial as people write it.

A trial trains five folds one after another, each from a DataLoader, and returns the mean macro F1.
"""

from __future__ import annotations

import functools
import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

torch.set_num_threads(1)
EPOCHS, FOLDS = 20, 5
DEVICE = os.environ.get("BENCH_DEVICE", "cpu")
BATCH = {"small": 64, "large": 256, "digits": 64}


def arrays(name: str) -> tuple[Any, Any]:
    """Inputs float32 [rows, …] and classes int64 [rows]."""
    from sklearn.datasets import load_breast_cancer, load_digits, make_classification

    if name == "small":
        inputs, target = load_breast_cancer(return_X_y=True)
    elif name == "large":
        shape = {"n_informative": 12, "n_redundant": 6, "n_clusters_per_class": 4}
        inputs, target = make_classification(10_000, 30, class_sep=0.8, flip_y=0.03, random_state=0, **shape)
    else:
        inputs, target = load_digits(return_X_y=True)
        inputs = inputs.reshape(-1, 1, 8, 8)
    return inputs.astype("f4"), target.astype("i8")


def mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Module:
    """Two hidden layers."""
    return nn.Sequential(
        *(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
        nn.Linear(hidden, outputs),
    )


def cnn(hidden: int, outputs: int, dropout: float) -> nn.Module:
    """Two convolutions over 8×8 images."""
    return nn.Sequential(
        *(nn.Conv2d(1, hidden // 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(hidden // 4, hidden // 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(dropout), nn.Linear(hidden // 2 * 4, outputs)),
    )


def load_small() -> dict[str, Any]:
    """The data of `small` for winnow."""
    return dict(zip("Xy", arrays("small"), strict=True))


def load_large() -> dict[str, Any]:
    """The data of `large` for winnow."""
    return dict(zip("Xy", arrays("large"), strict=True))


def load_digits() -> dict[str, Any]:
    """The data of `digits` for winnow."""
    return dict(zip("Xy", arrays("digits"), strict=True))


def build_mlp(input_shape: tuple[int, ...], outputs: int, hidden: int, dropout: float) -> nn.Module:
    """The model of `small` and `large` for winnow."""
    return mlp(input_shape[0], hidden, outputs, dropout)


def build_cnn(input_shape: tuple[int, ...], outputs: int, hidden: int, dropout: float) -> nn.Module:
    """The model of `digits` for winnow."""
    assert input_shape == (1, 8, 8)
    return cnn(hidden, outputs, dropout)


@functools.cache
def folds(name: str) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]:
    """Standardized training and validation rows of every fold, a holdout left out."""
    from sklearn.model_selection import StratifiedKFold, train_test_split

    inputs, target = arrays(name)
    inputs, _, target, _ = train_test_split(inputs, target, test_size=0.2, stratify=target, random_state=0)
    dealt = []
    for train, validation in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(inputs, target):
        axis = 0 if inputs.ndim == 2 else None
        mean, spread = inputs[train].mean(axis), inputs[train].std(axis) + 1e-8
        parts = (inputs[train] - mean) / spread, target[train], (inputs[validation] - mean) / spread, target[validation]
        dealt.append(tuple(map(torch.from_numpy, parts)))
    return tuple(dealt)


def trial(name: str, params: dict[str, Any]) -> float:
    """Train a trial and return its mean F1 over the folds."""
    from sklearn.metrics import f1_score

    scores = []
    for number, (inputs, target, unseen, expected) in enumerate(folds(name)):
        model = trained(name, params, number, inputs, target)
        found = predicted(model, name, unseen, expected)
        scores.append(f1_score(expected, found, average="macro"))
    return float(np.mean(scores))


def trained(name: str, params: dict[str, Any], fold: int, inputs: Tensor, target: Tensor) -> nn.Module:
    """A model trained on a fold's training rows."""
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(fold)
    outputs, hidden, dropout = int(target.max()) + 1, params["hidden"], params["dropout"]
    is_image = inputs.dim() == 4
    model = cnn(hidden, outputs, dropout) if is_image else mlp(inputs.shape[1], hidden, outputs, dropout)
    model.to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), params["lr"], weight_decay=params["weight_decay"])
    loader = DataLoader(TensorDataset(inputs, target), BATCH[name], shuffle=True)
    for _ in range(EPOCHS):
        model.train()
        for rows, classes in loader:
            loss = functional.cross_entropy(model(rows.to(DEVICE)), classes.to(DEVICE))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@torch.no_grad()
def predicted(model: nn.Module, name: str, inputs: Tensor, target: Tensor) -> Tensor:
    """The classes that a model predicts."""
    from torch.utils.data import DataLoader, TensorDataset

    model.eval()
    loader = DataLoader(TensorDataset(inputs, target), BATCH[name])
    return torch.cat([model(rows.to(DEVICE)).argmax(1).cpu() for rows, _ in loader])

"""Real trainings for `racing.py`: the score of every configuration on every fold, computed once and kept in a file.

Each seed of a data set shuffles its own folds and draws its own configurations. The configurations are multilayer
perceptrons (learning rate, width, weight decay, dropout, activation, initialisation), trained as one batched model per
seed, or extremely randomized trees.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold

Array = NDArray[np.float64]
Goal = Literal["maximize", "minimize"]

MOST_ROWS = 600
EPOCHS = 12
BATCH = 64
WIDEST = 32


@dataclass(frozen=True)
class Table:
    """Standardized inputs (rows × columns) and a target: class numbers, or a standardized number."""

    inputs: Array
    target: Array
    classes: int
    """0 for a number."""


@dataclass(frozen=True)
class Scores:
    """Scores of one seed's configurations (rows) on its folds (columns), by one metric."""

    data: str
    model: str
    metric: str
    goal: Goal
    seed: int
    matrix: Array


def _sklearn(name: str) -> Table:
    from sklearn import datasets

    inputs, target = getattr(datasets, f"load_{name}")(return_X_y=True)
    return _table(inputs, target, is_number=name == "diabetes")


def _statsmodels(name: str, target: str, leave_out: tuple[str, ...] = (), *, is_number: bool = False) -> Table:
    import statsmodels.datasets

    frame = getattr(statsmodels.datasets, name).load_pandas().data
    values = frame[target].to_numpy(float)
    if name == "fair":
        values = (values > 0).astype(float)
    return _table(frame.drop(columns=[target, *leave_out]).to_numpy(float), values, is_number=is_number)


def _penguins() -> Table:
    import palmerpenguins

    frame = palmerpenguins.load_penguins().dropna()
    # Sex from measurements; species would be told by them nearly without error.
    columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    return _table(frame[columns].to_numpy(float), frame["sex"].to_numpy(), is_number=False)


def _table(inputs: Any, target: Any, *, is_number: bool) -> Table:
    inputs, target = np.asarray(inputs, float), np.asarray(target)
    kept = np.random.default_rng(0).permutation(len(inputs))[:MOST_ROWS]
    inputs, target = inputs[kept], target[kept]
    inputs = inputs[:, inputs.std(axis=0) > 0]
    inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    if is_number:
        return Table(inputs, (target - target.mean()) / target.std(), 0)
    labels, codes = np.unique(target, return_inverse=True)
    return Table(inputs, codes.astype(float), len(labels))


DESIGN: Mapping[str, Callable[[], Table]] = {
    name: lambda name=name: _sklearn(name) for name in ("wine", "breast_cancer", "digits")
}
"""Data sets on which the rule was designed."""

FRESH: Mapping[str, Callable[[], Table]] = {
    "iris": lambda: _sklearn("iris"),
    "diabetes": lambda: _sklearn("diabetes"),
    "penguins": _penguins,
    "fair": lambda: _statsmodels("fair", "affairs"),
    "anes96": lambda: _statsmodels("anes96", "vote"),
    "star98": lambda: _statsmodels("star98", "NABOVE", ("NBELOW",), is_number=True),
    "randhie": lambda: _statsmodels("randhie", "mdvis", ("idp",), is_number=True),
}
"""Data sets on which it was confirmed."""


def scores_of(data: str, model: str, folds: int, seeds: range, configurations: int, cache: Path) -> tuple[Scores, ...]:
    """The matrices of a data set, two metrics each, from `cache` where they were computed before."""
    key = json.dumps([data, model, folds, configurations, MOST_ROWS, EPOCHS, BATCH, WIDEST])
    table, found = None, []
    for seed in seeds:
        file = cache / f"{data}-{model}-{folds}-{seed}-{hashlib.sha256(key.encode()).hexdigest()[:8]}.npz"
        if not file.exists():
            table = table or ({**DESIGN, **FRESH})[data]()
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, **_train(table, model, folds, seed, configurations))
        with np.load(file) as scores:
            found += [
                Scores(data, model, name, "maximize" if name in ("accuracy", "r2") else "minimize", seed, scores[name])
                for name in scores.files
            ]
    return tuple(found)


def _train(table: Table, model: str, folds: int, seed: int, configurations: int) -> dict[str, Array]:
    splitter = (StratifiedKFold if table.classes else KFold)(folds, shuffle=True, random_state=seed)
    parts = list(splitter.split(table.inputs, table.target))
    train = _train_perceptrons if model == "mlp" else _train_trees
    predictions = train(table, parts, seed, configurations)
    names = ("accuracy", "log_loss") if table.classes else ("r2", "mse")
    scores = {name: np.empty((configurations, folds)) for name in names}
    for fold, (_, validation) in enumerate(parts):
        target = table.target[validation]
        for number, predicted in enumerate(predictions[fold]):
            if table.classes:
                right = predicted.argmax(axis=1) == target
                likelihood = np.clip(predicted[np.arange(len(target)), target.astype(int)], 1e-7, 1)
                both = right.mean(), -np.log(likelihood).mean()
            else:
                error = ((predicted[:, 0] - target) ** 2).mean()
                both = 1 - error / target.var(), error
            for name, value in zip(names, both, strict=True):
                scores[name][number, fold] = value
    return scores


def _train_perceptrons(table: Table, parts: list[Any], seed: int, configurations: int) -> list[Array]:
    """Two hidden layers; all configurations and folds of a seed as one batched model. Narrow ones are masked."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    draws = {
        "rate": 10 ** rng.uniform(-3.5, -0.5, configurations),
        "width": np.exp(rng.uniform(math.log(2), math.log(WIDEST), configurations)).astype(int),
        "decay": 10 ** rng.uniform(-5, -0.5, configurations),
        "dropout": rng.uniform(0, 0.5, configurations),
        "tanh": rng.integers(0, 2, configurations),
        "scale": 10 ** rng.uniform(-0.7, 0.5, configurations),
    }
    folds, models = len(parts), configurations * len(parts)
    one = {name: torch.tensor(np.tile(values, folds)).float()[:, None, None] for name, values in draws.items()}
    alive = (torch.arange(WIDEST)[None, None, :] < one["width"]).float()
    columns, outputs = table.inputs.shape[1], max(table.classes, 1)
    sizes = [(columns, WIDEST), (WIDEST, WIDEST), (WIDEST, outputs)]
    weights = []
    for layer, (into, out) in enumerate(sizes):
        # One draw per configuration, the same on all folds.
        drawn = torch.randn(configurations, into, out, generator=generator).repeat(folds, 1, 1)
        fan = columns if layer == 0 else one["width"]
        weights += [drawn * one["scale"] / torch.as_tensor(fan).sqrt(), torch.zeros(models, 1, out)]
    for weight in weights:
        weight.requires_grad_()
    inputs, target = torch.tensor(table.inputs).float(), torch.tensor(table.target)
    rows = min(len(train) for train, _ in parts)
    training = torch.tensor(np.stack([rng.permutation(train)[:rows] for train, _ in parts]))
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]

    def forward(x: torch.Tensor, *, is_training: bool) -> torch.Tensor:
        for layer in range(3):
            x = torch.baddbmm(weights[2 * layer + 1], x, weights[2 * layer])
            if layer < 2:
                x = torch.where(one["tanh"] > 0, x.tanh(), x.relu()) * alive
                if is_training:
                    kept = (torch.rand(x.shape, generator=generator) >= one["dropout"]).float()
                    x = x * kept / (1 - one["dropout"])
        return x

    def spread(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(configurations, 0)

    step = 0
    for _ in range(EPOCHS):
        order = torch.stack([torch.randperm(rows, generator=generator) for _ in range(folds)])
        for start in range(0, rows - rows % BATCH or rows, BATCH):
            chosen = training.gather(1, order[:, start : start + BATCH])
            output = forward(spread(inputs[chosen]), is_training=True)
            wanted = spread(target[chosen])
            if table.classes:
                loss = torch.nn.functional.cross_entropy(output.transpose(1, 2), wanted.long(), reduction="none").mean(
                    1
                )
            else:
                loss = ((output[:, :, 0] - wanted.float()) ** 2).mean(1)
            gradients = torch.autograd.grad(loss.sum(), weights)
            step += 1
            with torch.no_grad():
                for weight, gradient, (first, second) in zip(weights, gradients, moments, strict=True):
                    first.lerp_(gradient, 0.1)
                    second.lerp_(gradient**2, 0.01)
                    update = (first / (1 - 0.9**step)) / ((second / (1 - 0.99**step)).sqrt() + 1e-8)
                    weight.mul_(1 - one["rate"] * one["decay"]).sub_(one["rate"] * update)
    predictions = []
    with torch.no_grad():
        everything = forward(inputs.expand(models, -1, -1), is_training=False)
        output = everything.softmax(2) if table.classes else everything
        for fold, (_, validation) in enumerate(parts):
            own = output[fold * configurations : (fold + 1) * configurations]
            predictions.append(own[:, torch.tensor(validation)].double().numpy())
    return predictions


def _train_trees(table: Table, parts: list[Any], seed: int, configurations: int) -> list[Array]:
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    rng = np.random.default_rng(seed)
    draws = [
        {
            "n_estimators": int(rng.integers(2, 12)),
            "max_depth": int(rng.integers(1, 12)),
            "min_samples_leaf": int(np.exp(rng.uniform(0, math.log(30)))),
            "max_features": float(rng.uniform(0.1, 1)),
            "random_state": seed,
        }
        for _ in range(configurations)
    ]
    make = ExtraTreesClassifier if table.classes else ExtraTreesRegressor
    predictions = []
    for train, validation in parts:
        fitted = [make(**drawn).fit(table.inputs[train], table.target[train]) for drawn in draws]
        output = [
            one.predict_proba(table.inputs[validation])
            if table.classes
            else one.predict(table.inputs[validation])[:, None]
            for one in fitted
        ]
        predictions.append(np.stack(output))
    return predictions

"""Synthetic data with a known answer, to try a sweep on and to check its result.

The truth is linear, so that every coefficient can be compared:

    regression       y = X w + b + noise · N(0, 1)             best R² = |w|² / (|w|² + noise²)
    classification   y = argmax over classes of X W + b + noise · Gumbel(0, 1)

The second is the random-utility form of multinomial logistic regression: P(class | x) = softmax((x W + b) / noise)
(McFadden 1974), so the best accuracy is the mean of the largest probability. Features are standard normal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.generated import write_files

TARGET, GROUP = "target", "group"
FRESH_ROWS = 100_000
"""Extra rows that estimate the best accuracy with a standard error below 0.001."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """What to generate.

    Attributes:
        informative: how many of the features matter; the others are noise.
        classes: 0 for regression, otherwise at least 2.
        noise: standard deviation (regression) or scale (classification) of the unpredictable part.
        groups: number of groups, 0 for none; rows of one group resemble each other, which does not change the answer.
    """

    rows: int = 1000
    features: int = 10
    informative: int = 4
    classes: int = 2
    noise: float = 0.5
    groups: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Truth:
    """The known answer: weights [features, outputs], intercepts [outputs], and the best possible score."""

    weights: Array
    intercepts: Array
    metric: str
    best_score: float


@dataclass(frozen=True, eq=False)
class Generated:
    """Rows [rows, features], target [rows], groups [rows] or None, and the truth behind them."""

    recipe: Recipe
    features: Array
    target: NDArray[Any]
    groups: NDArray[np.int64] | None
    truth: Truth


def generate(recipe: Recipe) -> Generated:
    """Draw the truth, then the rows; the same recipe gives the same rows.

    Raises:
        InputError: a number of the recipe is out of range.
    """
    _check(recipe)
    random = np.random.default_rng(recipe.seed)
    truth = _draw_truth(recipe, random)
    groups = np.sort(np.arange(recipe.rows) % recipe.groups) if recipe.groups else None
    features = random.standard_normal((recipe.rows, recipe.features))
    if groups is not None:
        shared = random.standard_normal((recipe.groups, recipe.features))[groups]
        features = np.sqrt(0.5) * (shared + features)
    target = _draw_target(features @ truth.weights + truth.intercepts, recipe, random)
    return Generated(recipe, features, target, groups, truth)


def write_generated(generated: Generated, output: Path, *, force: bool = False) -> Path:
    """Write the rows (x1, x2, …, perhaps `group`, and `target`), and the truth beside them, as `write_files` does."""
    import pandas as pd

    frame = pd.DataFrame(generated.features, columns=_names(generated.recipe))
    if generated.groups is not None:
        frame[GROUP] = generated.groups
    frame[TARGET] = generated.target
    return write_files(frame, describe(generated), output, force=force)


def describe(generated: Generated) -> dict[str, Any]:
    """The truth as JSON values, by feature name."""
    recipe, truth = generated.recipe, generated.truth
    outputs = [str(code) for code in range(recipe.classes)] or [TARGET]
    return {
        "model": "y = X w + b + noise * N(0, 1)"
        if recipe.classes == 0
        else "P(class | x) = softmax((x W + b) / noise)",
        "task": "regression" if recipe.classes == 0 else "classification",
        "coefficients": {
            output: dict(zip(_names(recipe), truth.weights[:, column].tolist(), strict=True))
            for column, output in enumerate(outputs)
        },
        "intercepts": dict(zip(outputs, truth.intercepts.tolist(), strict=True)),
        "noise": recipe.noise,
        "best": {"metric": truth.metric, "score": truth.best_score},
        "recipe": asdict(recipe),
    }


def _draw_truth(recipe: Recipe, random: np.random.Generator) -> Truth:
    """Weights of magnitude 0.5 to 2 for the informative features, 0 for the others and for class 0 of two."""
    outputs = max(1, recipe.classes)
    informative = random.permutation(recipe.features)[: recipe.informative]
    shape = (recipe.informative, outputs)
    weights = np.zeros((recipe.features, outputs))
    weights[informative] = random.uniform(0.5, 2.0, shape) * random.choice([-1.0, 1.0], shape)
    intercepts = random.uniform(-0.5, 0.5, outputs)
    if recipe.classes == 2:
        weights[:, 0], intercepts[0] = 0.0, 0.0
    if recipe.classes == 0:
        signal = float(np.square(weights).sum())
        return Truth(weights, intercepts, "r2", signal / (signal + recipe.noise**2))
    fresh = random.standard_normal((FRESH_ROWS, recipe.features)) @ weights + intercepts
    return Truth(weights, intercepts, "accuracy", best_accuracy(fresh, recipe.noise))


def best_accuracy(utilities: Array, noise: float) -> float:
    """The best possible accuracy, which is the mean largest class probability, for utilities [rows, classes]."""
    if noise == 0:
        return 1.0
    above = (utilities - utilities.max(axis=1, keepdims=True)) / noise
    return float((1.0 / np.exp(above).sum(axis=1)).mean())


def _draw_target(utilities: Array, recipe: Recipe, random: np.random.Generator) -> NDArray[Any]:
    if recipe.classes == 0:
        return utilities[:, 0] + recipe.noise * random.standard_normal(recipe.rows)
    chosen: NDArray[np.int64] = np.argmax(utilities + recipe.noise * random.gumbel(size=utilities.shape), axis=1)
    return chosen


def _names(recipe: Recipe) -> list[str]:
    return [f"x{index + 1}" for index in range(recipe.features)]


def _check(recipe: Recipe) -> None:
    rows, features = recipe.rows, recipe.features
    bounds = {
        "rows": ("at least 10", rows >= 10),
        "features": ("at least 1", features >= 1),
        "informative": (f"1 to {features}, the number of features", 1 <= recipe.informative <= features),
        "classes": (f"0 for regression, or 2 to {rows}", recipe.classes == 0 or 2 <= recipe.classes <= rows),
        "noise": ("a finite number of at least 0", 0 <= recipe.noise < float("inf")),
        "groups": (f"0 for none, or 2 to {rows}", recipe.groups == 0 or 2 <= recipe.groups <= rows),
        "seed": ("at least 0", recipe.seed >= 0),
    }
    for option, (expected, is_in_range) in bounds.items():
        if not is_in_range:
            found = str(getattr(recipe, option))
            raise InputError(f"--{option}", expected=expected, found=found, remedy="Change this option.")

"""Temperature and decision threshold, chosen on out-of-fold predictions.

The temperature divides the logits, so that probabilities are neither too sure nor too timid (Guo et al. 2017, "On
Calibration of Modern Neural Networks"). The threshold is the probability of the positive class from which on it is
predicted. Neither changes a trial's metrics or rank: both are chosen on the very rows that these are computed on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from winnow.config.errors import InputError
from winnow.training import scores
from winnow.training.metrics import MetricSpec, Outputs, specs_of
from winnow.training.out_of_fold import FoldOutputs
from winnow.training.preparation import Prepared

PLACE = "refit.threshold"
TEMPERATURES = (0.05, 20.0)
MOST_THRESHOLDS = 200
"""How many thresholds are tried."""


@dataclass(frozen=True)
class Calibration:
    """How a model's logits become probabilities and classes.

    Attributes:
        positive: index of the class that is predicted from the threshold on; None: the likeliest class is.
        metrics: what it changes on the out-of-fold predictions.
    """

    temperature: float = 1.0
    threshold: float | None = None
    positive: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)

    def decided(self, probabilities: Tensor) -> Tensor:
        """Probabilities [rows, classes] as 1 for the predicted class and 0 for the others."""
        if self.threshold is None:
            return probabilities
        return _decided(probabilities[:, self.positive], self.threshold, self.positive)


class Temperature(nn.Module):
    """Divides logits by a temperature."""

    temperature: Tensor

    def __init__(self, temperature: float) -> None:
        """`temperature`: above 0."""
        super().__init__()
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.temperature


def calibrate(prepared: Prepared, folds: Sequence[FoldOutputs]) -> Calibration:
    """Choose a temperature and a threshold by the out-of-fold predictions of all folds."""
    config = prepared.experiment.refit
    logits, target = torch.cat([fold.logits for fold in folds]), torch.cat([fold.target for fold in folds])
    temperature = fit_temperature(logits, target) if config.temperature == "auto" else 1.0
    before, after = logits.softmax(1), (logits / temperature).softmax(1)
    metrics = {"calibration.temperature": temperature}
    for name, score in (("log_loss", log_loss), ("ece", scores.calibration_error)):
        metrics |= {
            f"calibration.{name}.before": float(score(before, target)),
            f"calibration.{name}.after": float(score(after, target)),
        }
    positive = 1 if prepared.positive is None else prepared.positive
    spec = threshold_spec(prepared)
    threshold = None
    if spec is not None and spec.score is not None:
        by_fold = [((fold.logits / temperature).softmax(1)[:, positive], fold.target) for fold in folds]
        is_maximized = (config.threshold.metric or prepared.experiment.search.metric).goal or spec.goal
        chosen = fit_threshold(by_fold, positive, spec.score, 1.0 if is_maximized != "minimize" else -1.0)
        threshold = chosen.value
        metrics |= {
            "calibration.threshold": 0.5 if threshold is None else threshold,
            f"calibration.{spec.name}.before": chosen.before,
            f"calibration.{spec.name}.after": chosen.after,
        }
    return Calibration(temperature, threshold, positive, metrics)


def threshold_spec(prepared: Prepared) -> MetricSpec | None:
    """The metric that the threshold is chosen by; None where none is chosen.

    By default it is the objective, if that depends on the predicted classes. The threshold 0.5 is left for accuracy,
    whose best one it is. Raises InputError if the metric that the experiment names cannot choose one.
    """
    config, data = prepared.experiment.refit.threshold, prepared.data
    if config.type == "off" or prepared.loop is not None or (config.metric is None and data.outputs != 2):
        return None
    if config.metric is None:
        spec = next(each for each in prepared.metrics if each.name == prepared.objective)
        return spec if spec.is_of_labels and spec.name != "accuracy" else None
    if data.class_names is None or data.outputs != 2:
        found = "regression" if data.class_names is None else f"{data.outputs} classes"
        raise InputError(PLACE, expected="a target of two classes", found=found, remedy="Remove it.")
    specs = specs_of(config.metric, Outputs(data.task, 2, data.class_names, prepared.positive), f"{PLACE}.metric")
    if len(specs) != 1 or not specs[0].is_of_labels:
        raise InputError(
            f"{PLACE}.metric",
            expected="a metric with one value that depends on the predicted classes, such as f1 or balanced_accuracy",
            found=repr(config.metric.name),
            remedy="Take one of these, or off.",
        )
    return specs[0]


def log_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """The mean negative log-likelihood of probabilities [rows, classes]."""
    return functional.nll_loss(probabilities.double().clamp_min(1e-12).log(), target)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature with the least negative log-likelihood; 1 where none is better.

    As in Platt 1999, one row of every class is taken as likely in each row's place: rows that are all right would ask
    for a temperature of 0.

    Args:
        logits: [rows, classes].
        target: int64 [rows].
    """
    values, classes = logits.double(), logits.shape[1]
    smoothing = classes / (len(values) + classes)
    wanted = functional.one_hot(target, classes) * (1 - smoothing) + smoothing / classes
    aim = (wanted * values).sum(1).mean()

    def slope(sharpness: float) -> float:
        """Of the negative log-likelihood, which is convex in the sharpness, the temperature's inverse."""
        return float(((values * sharpness).softmax(1) * values).sum(1).mean() - aim)

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(low) == slope(high):
        return 1.0  # all logits are alike
    for _ in range(50):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    temperature = float(np.float32(1 / math.sqrt(low * high)))
    before, after = (functional.cross_entropy(values / each, target) for each in (1.0, temperature))
    return temperature if after < before else 1.0


@dataclass(frozen=True)
class Threshold:
    """A threshold, or None for 0.5, with the metric's mean over the folds at 0.5 and at the threshold."""

    value: float | None
    before: float
    after: float


def fit_threshold(
    folds: Sequence[tuple[Tensor, Tensor]], positive: int, score: Callable[..., Tensor], sign: float = 1.0
) -> Threshold:
    """The threshold with the best mean over the folds, if it beats 0.5 by more than the standard error of its gain.

    Args:
        folds: for each the probability of the positive class, float32 [rows], and the classes, int64 [rows].
        sign: 1 to maximize, -1 to minimize.
    """
    pooled = torch.cat([probabilities for probabilities, _ in folds])
    tried = torch.unique(torch.cat([probabilities[target == positive] for probabilities, target in folds]))
    if len(tried) > MOST_THRESHOLDS:
        tried = tried[torch.linspace(0, len(tried) - 1, MOST_THRESHOLDS).long()]

    def values(threshold: float) -> np.ndarray:
        found = [float(score(_decided(p, threshold, positive), target)) for p, target in folds]
        return np.array(found)

    base = values(0.5)
    table = np.array([values(float(each)) for each in tried])
    is_defined = np.isfinite(base) & np.isfinite(table).all(axis=0)
    if not is_defined.any():
        return Threshold(None, math.nan, math.nan)
    base, table = base[is_defined], table[:, is_defined]
    means = sign * table.mean(axis=1)
    best = [index for index, mean in enumerate(means) if mean >= means.max() - 1e-12]
    chosen = min(best, key=lambda index: abs(float(tried[index]) - 0.5))
    gains = sign * (table[chosen] - base)
    error = gains.std(ddof=1) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    before = float(base.mean())
    if gains.mean() <= error:
        return Threshold(None, before, before)
    return Threshold(_between(pooled, float(tried[chosen])), before, float(table[chosen].mean()))


def _decided(probability: Tensor, threshold: float, positive: int) -> Tensor:
    """1 for the predicted class and 0 for the other, [rows, 2]."""
    is_positive = probability >= threshold
    return functional.one_hot(torch.where(is_positive, positive, 1 - positive), 2).float()


def _between(probabilities: Tensor, threshold: float) -> float:
    """A threshold that decides the same, halfway to the next lower probability."""
    lower = probabilities[probabilities < threshold]
    halfway = float(np.float32((threshold + (float(lower.max()) if len(lower) else 0.0)) / 2))
    return halfway if not len(lower) or float(lower.max()) < halfway <= threshold else threshold

"""The loss that training minimizes: one of torch's, the focal loss, or a function of the user's own.

A loss gives a value for each row, so that rows can have weights, ranks can share a step, and models can train as one.
A function of one's own may give the mean of its rows instead; then it has neither.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from winnow.config.errors import InputError
from winnow.config.experiment import LossConfig
from winnow.config.functions import load_function, names_function
from winnow.config.nearest import did_you_mean
from winnow.data.dataset import Task

PLACE = "training.loss"


@dataclass(frozen=True)
class RowLoss:
    """The loss of rows, given a network's outputs and their targets; for several targets it is their mean.

    Attributes:
        function: takes outputs, target and `options`; torch's take `reduction` too.
        is_elementwise: whether it gives a value for each target, and not for each row.
    """

    function: Callable[..., Tensor]
    is_elementwise: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    is_own: bool = False

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The loss of each row, [rows]; the mean alone where the user's own function gives that."""
        if self.is_own:
            return self.function(outputs, target, **self.options)
        losses = self.function(outputs, target, reduction="none", **self.options)
        return losses.flatten(1).mean(1) if self.is_elementwise else losses

    def mean(self, outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean over the rows, by one kernel; with weights [rows] the weighted one, 0 where all weights are."""
        if weights is not None:
            return (self(outputs, target) * weights).sum() / weights.sum().clamp_min(_SMALLEST)
        if self.is_own:
            return self(outputs, target).mean()
        return self.function(outputs, target, reduction="mean", **self.options)

    def sum(self, outputs: Tensor, target: Tensor, rows: int, weights: Tensor | None = None) -> Tensor:
        """The sum over the first rows, weighted if weights [rows] are given."""
        losses = self(outputs, target)
        if losses.dim() == 0:
            return losses * rows
        return (losses if weights is None else losses * weights)[:rows].sum()


_SMALLEST = torch.finfo(torch.float32).tiny


def focal(
    outputs: Tensor, target: Tensor, gamma: float = 2.0, label_smoothing: float = 0.0, reduction: str = "none"
) -> Tensor:
    """The focal loss, (1 - p)^gamma times the cross-entropy, where p is the true class's probability.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", without their alpha, which is a class weight.
    """
    entropy = functional.cross_entropy(outputs, target, reduction="none")
    smoothed = entropy
    if label_smoothing:
        smoothed = functional.cross_entropy(outputs, target, reduction="none", label_smoothing=label_smoothing)
    # 1 - p without cancellation. At 0 the power has no gradient.
    losses = (-torch.expm1(-entropy)).clamp_min(1e-12) ** gamma * smoothed
    return losses.mean() if reduction == "mean" else losses


@dataclass(frozen=True)
class _BuiltIn:
    task: Task
    function: Callable[..., Tensor]
    settings: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The lowest and the highest value of each setting."""


_SMOOTHING = {"label_smoothing": (0.0, 1.0)}
BUILT_IN: Mapping[str, _BuiltIn] = {
    "cross_entropy": _BuiltIn("classification", functional.cross_entropy, _SMOOTHING),
    "focal": _BuiltIn("classification", focal, {"gamma": (0.0, 100.0), **_SMOOTHING}),
    "mse": _BuiltIn("regression", functional.mse_loss),
    "l1": _BuiltIn("regression", functional.l1_loss),
    "huber": _BuiltIn("regression", functional.huber_loss, {"delta": (1e-6, 1e6)}),
}
_AUTOMATIC: Mapping[Task, str] = {"classification": "cross_entropy", "regression": "mse"}


def row_loss(config: LossConfig, task: Task) -> RowLoss:
    """The loss that the experiment names.

    Raises:
        InputError: there is no such loss for the task, or it lacks a setting.
    """
    options = dict(config.model_extra or {})
    if names_function(config.type):
        return RowLoss(load_function(config.type, PLACE), options=options, is_own=True)
    name = _AUTOMATIC[task] if config.type == "auto" else config.type
    fitting = [one for one, built_in in BUILT_IN.items() if built_in.task == task]
    if name not in fitting:
        hint = did_you_mean(name, fitting) or "Set data.task where the task was taken for the wrong one."
        raise InputError(
            PLACE,
            expected=f"auto, {', '.join(fitting)} or your own function, for {task}",
            found=repr(name),
            remedy=f"{hint} docs/training.md explains them.",
        )
    built_in = BUILT_IN[name]
    for setting, value in options.items():
        _check_setting(name, setting, value, built_in.settings)
    return RowLoss(built_in.function, is_elementwise=task == "regression", options=options)


def loss_settings(config: LossConfig) -> frozenset[str]:
    """The settings that a search space may hold: those of a loss that the file names."""
    if names_function(config.type):
        parameters = list(inspect.signature(load_function(config.type, PLACE)).parameters.values())[2:]
        return frozenset(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD)
    return frozenset(BUILT_IN[config.type].settings) if config.type in BUILT_IN else frozenset()


def is_plain(loss: RowLoss) -> bool:
    """Whether it is the cross-entropy as it is."""
    return loss.function is functional.cross_entropy and not any(loss.options.values())


def _check_setting(loss: str, setting: str, value: Any, known: Mapping[str, tuple[float, float]]) -> None:
    if setting not in known:
        raise InputError(
            f"{PLACE}.{setting}",
            expected=f"a setting of {loss}" if known else f"no settings for {loss}",
            found=repr(setting),
            remedy=did_you_mean(setting, known) or f"Known names: {', '.join(known) or 'none'}.",
        )
    low, high = known[setting]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(
            f"{PLACE}.{setting}",
            expected=f"a number from {low:g} to {high:g}",
            found=repr(value),
            remedy="Correct it, here or in search.space.",
        )


def check_loss(loss: RowLoss, outputs: Tensor, target: Tensor, name: str, *, is_weighted: bool) -> None:
    """Try a loss on a few rows.

    Args:
        outputs, target: of at least 4 rows.
        is_weighted: whether rows or classes have weights.

    Raises:
        InputError: it raises, gives another shape or values that are not finite or have no gradient, mixes rows, or
            gives one value where rows have weights.
    """
    fault = functools.partial(InputError, PLACE, remedy=f"Correct {name}: function(outputs, target) -> loss per row.")
    expected = f"a loss for each of {len(target)} rows, [{len(target)}], or their mean"
    try:
        losses = loss(outputs.detach().requires_grad_(), target)
    except Exception as error:
        given = f"with outputs {list(outputs.shape)} and target {list(target.shape)}"
        raise fault(expected=expected, found=f"{type(error).__name__}: {error}, {given}") from error
    if not isinstance(losses, Tensor) or losses.shape not in ((len(target),), ()):
        shape = list(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise fault(expected=expected, found=f"{shape}")
    if not bool(torch.isfinite(losses).all()):
        raise fault(expected="a finite loss", found=f"{losses.detach().flatten().tolist()[:4]}")
    if not losses.requires_grad:
        raise fault(expected="a loss that gradients pass through", found="one without a gradient")
    if losses.dim() == 0:
        if is_weighted:
            raise fault(expected="a loss for each row, since rows or classes have weights", found="one number for all")
        return
    with torch.no_grad():
        few = loss(outputs[:2], target[:2])
    if few.shape != (2,) or not torch.allclose(few, losses[:2], rtol=1e-4, atol=1e-6):
        raise fault(
            expected="a loss for each row that does not depend on the other rows, or their mean as one number",
            found="other values for the first two rows alone",
        )

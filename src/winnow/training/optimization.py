"""Optimizers and learning-rate schedules by name.

Names of `torch.optim` and `torch.optim.lr_scheduler` in any case, without those that take functions, closures, sparse
gradients or other schedulers, which a file cannot describe. `cosine` is winnow's own schedule: a linear warm-up, then
half a cosine.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from winnow.config.errors import InputError
from winnow.config.experiment import OptimizerConfig, SchedulerConfig
from winnow.config.nearest import did_you_mean
from winnow.training.fused import FUSED

COSINE = "cosine"
_COSINE_SETTINGS = frozenset({"warmup_steps", "final_factor"})
_OPTIMIZERS_LEFT_OUT = {"Optimizer", "LBFGS", "SparseAdam"}
_SCHEDULERS_LEFT_OUT = {
    *("LRScheduler", "_LRScheduler", "LambdaLR", "MultiplicativeLR", "ChainedScheduler", "SequentialLR")
}
_NOT_SETTINGS = {
    *("self", "params", "optimizer", "last_epoch", "verbose"),
    *("foreach", "maximize", "capturable", "differentiable", "fused"),
}


@dataclass
class Schedule:
    """A scheduler, and when it advances; `watches` where it wants the loss of each epoch."""

    scheduler: LRScheduler
    every: Literal["step", "epoch"]
    watches: bool


def optimizer_class(name: str, place: str = "training.optimizer.type") -> type[Optimizer]:
    """The class of `torch.optim` with that name, in any case.

    Raises:
        InputError: there is none, or it cannot be used from a file.
    """
    known = {
        cls.__name__.lower(): cls
        for cls in vars(torch.optim).values()
        if inspect.isclass(cls) and issubclass(cls, Optimizer) and cls.__name__ not in _OPTIMIZERS_LEFT_OUT
    }
    if name.lower() in known:
        return known[name.lower()]
    raise _unknown(place, "an optimizer of torch.optim", name, list(known))


def optimizer_settings(name: str, place: str = "training.optimizer.type") -> frozenset[str]:
    """The names of an optimizer's settings. Raises InputError if there is no such optimizer."""
    return frozenset(inspect.signature(optimizer_class(name, place)).parameters) - _NOT_SETTINGS


def make_optimizer(config: OptimizerConfig, model: nn.Module, device: torch.device, *, is_scaled: bool) -> Optimizer:
    """The optimizer over a model's parameters; settings that are another optimizer's are left out.

    Args:
        is_scaled: gradients are scaled (fp16). A fused optimizer would then skip steps inside its kernel without
            reporting it, and the schedule would run ahead of the steps. Otherwise Adam, AdamW, SGD and Adagrad are
            those of `fused`, which take the same steps in less time.

    Raises:
        TypeError, ValueError: the optimizer lacks a setting, or refuses one.
    """
    cls = optimizer_class(config.type)
    known = optimizer_settings(config.type)
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (config.model_extra or {}).items()
        if name in known
    }
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if cls in FUSED and not is_scaled and _can_fuse(parameters, device):
        return FUSED[cls](parameters, **arguments, fused=True)
    return cls(parameters, **arguments)


def scheduler_settings(name: str, place: str = "training.scheduler.type") -> frozenset[str]:
    """The names of a scheduler's settings. Raises InputError if there is no such scheduler."""
    if name.lower() == COSINE:
        return _COSINE_SETTINGS
    return frozenset(inspect.signature(_scheduler_class(name, place)).parameters) - _NOT_SETTINGS


def scheduler_class(name: str, place: str = "training.scheduler.type") -> type[LRScheduler] | type[CosineWithWarmup]:
    """What makes a scheduler's factors: a class of torch, or the cosine.

    Raises:
        InputError: there is no such scheduler.
    """
    return CosineWithWarmup if name.lower() == COSINE else _scheduler_class(name, place)


def make_schedule(config: SchedulerConfig, optimizer: Optimizer, *, steps: int, epochs: int) -> Schedule:
    """The schedule over a training of `steps` optimizer steps in `epochs` epochs.

    What follows from the training is filled in where the file leaves it out: `total_steps` and `max_lr` (the
    optimizer's own) of OneCycleLR, `T_max` of CosineAnnealingLR.

    Raises:
        InputError: there is no such scheduler, or it cannot advance when it is told to.
        TypeError, ValueError: it lacks a setting, or refuses one.
    """
    arguments = dict(config.model_extra or {})
    if config.type.lower() == COSINE:
        factor = CosineWithWarmup(steps=steps if config.every != "epoch" else epochs, **arguments)
        return Schedule(lr_scheduler.LambdaLR(optimizer, factor), config.every or "step", watches=False)
    cls = _scheduler_class(config.type, "training.scheduler.type")
    watches = issubclass(cls, lr_scheduler.ReduceLROnPlateau)
    every = config.every or ("step" if issubclass(cls, lr_scheduler.OneCycleLR) else "epoch")
    if watches and every == "step":
        raise InputError(
            "training.scheduler.every",
            expected="'epoch' for ReduceLROnPlateau, which follows the loss of each epoch",
            found="'step'",
            remedy="Leave `every` out.",
        )
    length = steps if every == "step" else epochs
    filled: dict[str, Any] = {"T_max": length} if "T_max" in inspect.signature(cls).parameters else {}
    if cls is lr_scheduler.OneCycleLR:
        filled = {"max_lr": [group["lr"] for group in optimizer.param_groups]}
        if "epochs" not in arguments:
            filled["total_steps"] = length
    return Schedule(cls(optimizer, **{**filled, **arguments}), every, watches)


@dataclass(frozen=True)
class CosineWithWarmup:
    """The factor on the learning rate after so many steps.

    It rises in a straight line to 1 at the last of `warmup_steps` (the first step already moves), then falls along half
    a cosine to `final_factor` (Loshchilov and Hutter 2017, without restarts).

    Attributes:
        steps: optimizer steps of the whole training.
        warmup_steps: how many of them the rise takes.
        final_factor: share of the learning rate that is left in the end.
    """

    steps: int
    warmup_steps: int = 0
    final_factor: float = 0.0

    def __call__(self, step: int) -> float:
        """The factor for the step after `step` others."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = min(1.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return self.final_factor + (1 - self.final_factor) * 0.5 * (1 + math.cos(math.pi * share))


def _scheduler_class(name: str, place: str) -> type[LRScheduler]:
    known: Mapping[str, type[LRScheduler]] = {
        cls.__name__.lower(): cls
        for cls in vars(lr_scheduler).values()
        if inspect.isclass(cls) and issubclass(cls, LRScheduler) and cls.__name__ not in _SCHEDULERS_LEFT_OUT
    }
    if name.lower() in known:
        return known[name.lower()]
    raise _unknown(place, "'cosine' or a scheduler of torch.optim.lr_scheduler", name, [COSINE, *known])


def _unknown(place: str, expected: str, name: str, known: list[str]) -> InputError:
    remedy = f"{did_you_mean(name.lower(), known)} Known names: {', '.join(sorted(known))}.".lstrip()
    return InputError(place, expected=expected, found=repr(name), remedy=remedy)


def _can_fuse(parameters: list[nn.Parameter], device: torch.device) -> bool:
    kinds = {(parameter.device, parameter.dtype) for parameter in parameters}
    return device.type in ("cpu", "cuda") and len(kinds) == 1 and parameters[0].is_floating_point()

"""Run a custom training function in place of winnow's loop: `train_fold(fold, params) -> {metric: value}`.

`training.loop` names it. It gets the rows of one fold on its device and the trial's parameters unchanged. It returns
the metrics of the validation rows, including the study's objective. To allow a refit and an export, it also returns
`model`: an nn.Module from raw inputs to what a factory's network returns (logits, or values in the target's own units).

With several ranks the function runs on all of them. It must split the rows and synchronize gradients itself, for
example with `fold.accelerator`. The metrics that rank 0 returns count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from winnow.config.names import recorded_name
from winnow.data.dataset import Task
from winnow.training.world import World

MODEL = "model"


@dataclass(frozen=True, eq=False)
class LoopFold:
    """What a training function gets.

    Attributes:
        train_features, train_target: the rows to learn from: float32 [rows, *input_shape], and int64 [rows] or float32
            [rows, targets], on `device`; raw, so inputs are NaN where a value is missing, and a table's columns are
            encoded as `winnow.bundle.columns` says. Features that do not lie in memory (`data.load`) are a map-style
            Dataset without targets: `len(features)` rows, and `features[index]` for a number, a slice or a tensor.
        validation_features, validation_target: the rows to score.
        index: number of the fold, from 0; a refit counts as the fold after the last, and its validation rows are a part
            of the training rows, for the holdout stays unseen.
        seed: differs between folds and not between trials.
        rank, world_size: which of how many ranks this is.
        task, outputs: as a model's factory gets them; input_shape: of one raw row.
        report: `report(epoch, epochs, loss, **metrics)`: call it after an epoch with its number from 1, the number of
            epochs, the training loss and any metrics, for the progress and the learning curves. A metric is that of the
            validation rows and is recorded as `val_NAME`, unless its name begins with `train_` or `val_`.
    """

    train_features: Tensor
    train_target: Tensor
    validation_features: Tensor
    validation_target: Tensor
    index: int
    seed: int
    device: torch.device
    rank: int
    world_size: int
    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    report: Callable[..., None]
    _world: World

    @property
    def accelerator(self) -> Any:
        """The process's own `accelerate.Accelerator`; do not make another."""
        return self._world.accelerator


TrainFoldFunction = Callable[[LoopFold, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class LoopResult:
    """What a training function returned, checked: its metrics, and the model where there is one."""

    metrics: dict[str, float]
    model: nn.Module | None


def run_loop(function: TrainFoldFunction, fold: LoopFold, params: Mapping[str, Any], objective: str) -> LoopResult:
    """Call a training function and check its answer.

    Raises:
        TypeError: it returned no mapping, a metric that is no number, or a model that is no nn.Module.
        ValueError: two metrics would be recorded under one name.
        KeyError: the objective is not among the metrics.
        Exception: whatever it raises itself.
    """
    returned = function(fold, dict(params))
    if not isinstance(returned, Mapping):
        raise TypeError(f"train_fold returned {type(returned).__name__}, not a mapping of metrics")
    model = returned.get(MODEL)
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"train_fold returned a {type(model).__name__} as 'model', not an nn.Module")
    metrics = {name: float(value) for name, value in returned.items() if name != MODEL}
    _check_names(metrics)
    if objective not in metrics:
        raise KeyError(f"train_fold returned {sorted(metrics)}, without the objective {objective!r}")
    return LoopResult(metrics, model)


def _check_names(metrics: Mapping[str, float]) -> None:
    recorded: dict[str, str] = {}
    for name in metrics:
        other = recorded.setdefault(recorded_name(name), name)
        if other != name:
            raise ValueError(
                f"train_fold returned {other!r} and {name!r}, which MLflow both records as {recorded_name(name)!r}"
            )

"""Run a custom training function in place of winnow's loop: `train_fold(fold, params) -> {metric: value}`.

`training.loop` names it. It gets the rows of one fold on its device and the trial's parameters unchanged. It returns
the metrics of the validation rows, including the study's objective and `search.metrics`. To allow a refit and an
export, it also returns one of two models of raw rows:

    model       an nn.Module to what a factory's network returns (logits, or values in the target's own units)
    onnx        of another library, as its converter makes it (a ModelProto or its bytes): float32 [batch, *input_shape]
                to class probabilities or values; and beside it `predictions`, that library's own ones for the
                validation rows, [rows, outputs], with which the ONNX model is compared

With several ranks the function runs on all of them. It must split the rows and synchronize gradients itself, for
example with `fold.accelerator`. The metrics that rank 0 returns count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from winnow.bundle.columns import Column
from winnow.config.names import recorded_name
from winnow.data.dataset import Task
from winnow.training.curves import OnEpoch
from winnow.training.world import World

MODEL, ONNX, PREDICTIONS = "model", "onnx", "predictions"
_NOT_METRICS = frozenset({MODEL, ONNX, PREDICTIONS})


@dataclass(frozen=True, eq=False)
class PreparedRows:
    """A fold's rows as winnow's own networks get them: scaled and encoded, blanks filled; without NaN.

    Attributes:
        train, validation: float32 [rows, *shape], on the fold's device.
        module: what makes them of raw rows, fitted on the training rows. It belongs into the model that the function
            returns: `torch.nn.Sequential(fold.prepared.module, network)`.
        embedded: how many codes each of the last columns has: those of a table's columns with many categories, as whole
            numbers for `torch.nn.Embedding`. Code 0 stands for rare and unknown ones.
    """

    train: Tensor
    validation: Tensor
    module: nn.Module
    embedded: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return tuple(self.train.shape[1:])


@dataclass(frozen=True, eq=False)
class LoopFold:
    """What a training function gets.

    Attributes:
        train_features, train_target: the rows to learn from: float32 [rows, *input_shape], and int64 [rows] or float32
            [rows, targets], on `device`. They are raw: unscaled, NaN where a value is missing, and a table's columns
            encoded as `columns` say. `prepared` has them as winnow's own networks get them. Features that do not lie in
            memory (`data.load`) are a map-style Dataset without targets: `len(features)` rows, and `features[index]`
            for a number, a slice or a tensor.
        validation_features, validation_target: the rows to score.
        train_weights: what each training row counts, float32 [rows]: its own weight times its class's; None: all alike.
        index: number of the fold, from 0; a refit counts as the fold after the last, and its validation rows are a part
            of the training rows, for the holdout stays unseen.
        is_refit: whether the model is for export; other folds need none.
        seed: differs between folds and not between trials.
        rank, world_size: which of how many ranks this is.
        task, outputs: as a model's factory gets them; input_shape: of one raw row.
        columns: what each column of a table holds (`winnow.bundle.columns.Column`); None for tensors, and for arrays.
        feature_names: of each column of a table.
    """

    train_features: Tensor
    train_target: Tensor
    validation_features: Tensor
    validation_target: Tensor
    train_weights: Tensor | None
    index: int
    is_refit: bool
    seed: int
    device: torch.device
    rank: int
    world_size: int
    task: Task
    input_shape: tuple[int, ...]
    outputs: int
    columns: tuple[Column, ...] | None
    feature_names: tuple[str, ...] | None
    _on_epoch: OnEpoch
    _world: World
    _preprocess: Callable[[], nn.Module]
    _embedded: tuple[int, ...]

    def report(self, epoch: int, epochs: int, /, *loss: float, **metrics: float) -> None:
        """Report `epoch` (from 1) of `epochs` after it, for the progress and the learning curves.

        Args:
            loss: that of training, for the curve `train_loss`.
            metrics: of the validation rows. They are recorded as `val_NAME`, unless a name begins with `train_` or
                `val_`. A metric may be called `loss`.
        """
        (training,) = loss or (metrics.pop("loss"),)
        self._on_epoch(
            int(epoch), int(epochs), float(training), **{name: float(value) for name, value in metrics.items()}
        )

    @cached_property
    def preprocess(self) -> nn.Module:
        """The module that prepares raw rows, fitted on the training rows when it is first asked for."""
        return self._preprocess()

    @cached_property
    def prepared(self) -> PreparedRows:
        """The rows as winnow's own networks get them; computed when they are first asked for.

        Raises:
            TypeError: the rows do not lie in memory.
        """
        if not isinstance(self.train_features, Tensor):
            raise TypeError("the rows do not lie in memory: pass each batch of them through fold.preprocess")
        with torch.no_grad():
            train, validation = self.preprocess(self.train_features), self.preprocess(self.validation_features)
        return PreparedRows(train, validation, self.preprocess, self._embedded)

    @property
    def accelerator(self) -> Any:
        """The process's own `accelerate.Accelerator`; do not make another."""
        return self._world.accelerator


TrainFoldFunction = Callable[[LoopFold, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class LoopResult:
    """What a training function returned, checked: its metrics, and the model of raw rows where there is one."""

    metrics: dict[str, float]
    model: nn.Module | None


def run_loop(
    function: TrainFoldFunction, fold: LoopFold, params: Mapping[str, Any], asked: Sequence[str]
) -> LoopResult:
    """Call a training function and check its answer.

    Args:
        asked: the metrics that the experiment names, the objective first.

    Raises:
        TypeError: it returned no mapping, a metric that is no number, or a model that is of no known kind.
        ValueError: two metrics would be recorded under one name, or an ONNX model is not as a server needs it.
        KeyError: a metric is missing.
        ExportDiffersError: the ONNX model's predictions are others than those returned.
        Exception: whatever it raises itself.
    """
    returned = function(fold, dict(params))
    if not isinstance(returned, Mapping):
        raise TypeError(f"training.loop returned {type(returned).__name__}, not a mapping of metrics")
    model = returned.get(MODEL)
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"training.loop returned a {type(model).__name__} as 'model', not an nn.Module")
    metrics = {name: _number(name, value) for name, value in returned.items() if name not in _NOT_METRICS}
    _check_names(metrics)
    missing = [name for name in asked if name not in metrics]
    if missing:
        named = {name: "search.metric" if name == asked[0] else "search.metrics" for name in missing}
        listed = ", ".join(f"{name!r} of {place}" for name, place in named.items())
        raise KeyError(f"training.loop returned the metrics {sorted(metrics)}, without {listed}")
    if returned.get(ONNX) is None:
        return LoopResult(metrics, model)
    if model is not None:
        raise ValueError("training.loop returned both 'model' and 'onnx'; one of them is exported")
    return LoopResult(metrics, _checked_onnx(returned[ONNX], returned.get(PREDICTIONS), fold))


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"training.loop returned a {type(value).__name__} as the metric {name!r}, not a number"
        ) from error


def _checked_onnx(model: Any, predictions: Any, fold: LoopFold) -> nn.Module:
    """The model as a network, after a comparison with the library's own predictions."""
    # Folds without such a model need neither ONNX nor its runtime.
    from winnow.training.export import check_parity
    from winnow.training.onnx_model import network_of

    # Those that do not lie in memory are read all at once.
    features: NDArray[np.float32] = fold.validation_features[:].cpu().numpy()
    is_probability = fold.task == "classification"
    network = network_of(model, features, fold.outputs, is_probability=is_probability)
    if predictions is None:
        raise ValueError(
            "training.loop returned 'onnx' without 'predictions', the model's own answers to fold.validation_features "
            f"[{len(features)}, {fold.outputs}], with which the ONNX model is compared"
        )
    expected = np.asarray(predictions.cpu() if isinstance(predictions, Tensor) else predictions, dtype=np.float32)
    if not is_probability and expected.ndim == 1:
        expected = expected[:, None]
    check_parity(expected, network.answer(features), is_probability, of="the predictions that training.loop returned")
    return network


def _check_names(metrics: Mapping[str, float]) -> None:
    recorded: dict[str, str] = {}
    for name in metrics:
        other = recorded.setdefault(recorded_name(name), name)
        if other != name:
            raise ValueError(
                f"training.loop returned {other!r} and {name!r}, which MLflow both records as {recorded_name(name)!r}"
            )

"""The two jobs of a group, done by all its ranks together: train and score a fold, and refit a trial for export.

Whatever is learned from data is learned from the training rows alone: the inputs' mean and spread, the target's scale,
and, with early stopping, which epoch was best (on a part of them). A fold's scaled inputs are computed once, not per
batch.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from winnow.config.user_code import folder_of_code
from winnow.data.rows import RowSource, SelectedRows, rows_in
from winnow.data.splits import split_watch
from winnow.training.calibration import Calibration, calibrate
from winnow.training.curves import Curves, OnEpoch, Points
from winnow.training.custom_loop import LoopFold, LoopResult, run_loop
from winnow.training.failures import DivergedError, ExportDiffersError, ExportError, StoppedError
from winnow.training.fetched_inputs import FetchedInputs
from winnow.training.fitting import Fitted, check_finite, new_network, seeds_of
from winnow.training.fold_data import FoldData
from winnow.training.loop import OnStep, Trained, train
from winnow.training.losses import row_loss
from winnow.training.messages import EpochScored, FoldJob, FoldScored, FoldStopped, FromRank, Progress, Refit, Refitted
from winnow.training.optimization import make_optimizer
from winnow.training.out_of_fold import PARQUET, FoldOutputs, kept_outputs, read_outputs, write_outputs
from winnow.training.packs import Alone, Packed, Packs
from winnow.training.preparation import Prepared
from winnow.training.weights import row_weights
from winnow.training.world import World

Send = Callable[[FromRank], None]
AfterEpoch = Callable[[Fitted, int, int], None]
"""Called on every rank after an epoch with the model as it is, the epoch's number from 1, and the number of epochs."""

DIGESTED_BYTES = 2**26
"""Rows whose digests are made at a time."""
_LOOP_WATCH = 0.1
"""Share of the training rows that a custom training function gets as validation rows in a refit."""


class Jobs:
    """Does jobs on data that was put on the device once."""

    def __init__(
        self, prepared: Prepared, world: World, send: Send, ask: Callable[[EpochScored], bool] = lambda _scored: False
    ) -> None:
        """`ask`: rank 0's way to learn whether a fold is to stop after an epoch; the other ranks' is not called."""
        self._prepared, self._world, self._send, self._ask = prepared, world, send, ask
        pruner, curves = prepared.experiment.search.pruner, prepared.experiment.training.curves
        self._prunes = pruner.every == "epoch"
        self._measures = self._prunes or curves.type == "metrics"
        self._keeps_curves = self._prunes or curves.type != "off"
        self._data = FoldData(prepared, world.device)
        self._packs = Packs(prepared, world, self._data, self._report)

    def packs(self, members: Sequence[FoldJob]) -> Iterator[Packed | Alone]:
        """Train what trains as one; the rest is for the caller to train, before it asks for more."""
        return self._packs.train(members)

    def train_fold(self, job: FoldJob) -> FoldScored | FoldStopped:
        """Train on a fold's training rows and score its validation rows, unless the supervisor stops it before.

        Raises:
            DivergedError: a loss or a metric is not finite, on every rank alike.
            Exception: whatever the model raises, perhaps on one rank only.
        """
        curves = Curves()
        try:
            if self._prepared.loop is not None:
                return self._fold_by_loop(self._prepared.loop, job, curves)
            return self._fold(job, curves)
        except StoppedError:
            return FoldStopped(job.trial, job.fold, self._points(curves))

    def _fold(self, job: FoldJob, curves: Curves) -> FoldScored:
        fold, began = self._prepared.folds[job.fold], time.perf_counter()

        def on_epoch(epoch: int, epochs: int, loss: float, /, **metrics: float) -> None:
            self._report(epoch, epochs, loss)
            curves.add(epoch, train_loss=loss, **metrics)

        fitted, trained = fit(
            self._prepared,
            self._world,
            self._data,
            job.params,
            fold.train,
            job.fold,
            on_epoch=on_epoch,
            after_epoch=self._validating(job, curves) if self._measures else None,
        )
        ended = time.perf_counter()
        raw = fitted.outputs(fold.validation, self._world)
        metrics = fitted.metrics_of(self._prepared, raw, fold.validation)
        check_finite(metrics, f"fold {job.fold + 1}")
        return FoldScored(
            trial=job.trial,
            fold=job.fold,
            metrics=metrics,
            epochs=trained.epochs,
            first_step_s=trained.first_step_at - began,
            train_s=ended - began,
            score_s=time.perf_counter() - ended,
            curves=self._points(curves),
            outputs=kept_outputs(self._prepared, job.fold, raw),
        )

    def refit(self, job: Refit) -> Refitted:
        """Train on all but the holdout, score that once, and let rank 0 write the bundle.

        Raises:
            DivergedError: a loss or a metric is not finite, on every rank alike.
            ExportDiffersError, ExportError: on rank 0 alone, after all that ranks do together.
            Exception: whatever the model raises, perhaps on one rank only.
        """
        began = time.perf_counter()
        prepared, holdout = self._prepared, self._prepared.holdout
        if prepared.loop is not None:
            fitted = self._refit_by_loop(prepared.loop, job)
        else:
            fold = len(prepared.folds)
            fitted, _ = fit(prepared, self._world, self._data, job.params, holdout.rest, fold, on_epoch=self._report)
        train_s = time.perf_counter() - began
        folds = read_outputs(prepared, job.outputs)
        if folds is not None:
            fitted = dataclasses.replace(fitted, calibration=calibrate(prepared, folds))
        metrics: dict[str, float] = {}
        if len(holdout.holdout):
            metrics = fitted.score(prepared, holdout.holdout, self._world)
            check_finite(metrics, "the holdout")
        parity = self._export(fitted, job, metrics, folds) if self._world.is_first else 0.0
        artifacts = self._artifacts(job, folds) if self._world.is_first else ()
        chosen = dict((fitted.calibration or Calibration()).metrics)
        return Refitted(job.trial, job.directory, metrics, parity, train_s, artifacts, chosen)

    def _artifacts(self, job: Refit, folds: tuple[FoldOutputs, ...] | None) -> tuple[str, ...]:
        """Write what is kept beside the bundle: which rows the model was trained on, and the folds' outputs."""
        from winnow.bundle.row_digests import TRAINED_ROWS, row_digests, write_digests

        prepared, trained = self._prepared, Path(job.directory).with_name(TRAINED_ROWS)
        features, rest = prepared.data.features, prepared.holdout.rest
        at_once = max(rows_in(DIGESTED_BYTES, features.shape), 1)
        parts = [row_digests(features[rest[start : start + at_once]]) for start in range(0, len(rest), at_once)]
        write_digests(trained, np.concatenate(parts))
        if folds is None:
            return (str(trained),)
        path = Path(job.directory).with_name(PARQUET)
        write_outputs(prepared, folds, path)
        return str(trained), str(path)

    def _export(
        self, fitted: Fitted, job: Refit, metrics: Mapping[str, float], folds: tuple[FoldOutputs, ...] | None
    ) -> float:
        # Folds need neither ONNX nor its runtime, so their imports wait for the first refit.
        from winnow.bundle.row_counter import Answering
        from winnow.training.export import Origin, export, git_commit
        from winnow.training.profiling import profile_of

        prepared = self._prepared
        checked = prepared.holdout.holdout if len(prepared.holdout.holdout) else prepared.holdout.rest
        named = {**job.metrics, **{f"holdout.{name}": value for name, value in metrics.items()}}
        commit = git_commit(folder_of_code(prepared.experiment, Path.cwd()) or Path.cwd())
        found, names = fitted.calibration or Calibration(), prepared.data.class_names
        named |= found.metrics
        is_named = prepared.positive is not None or found.threshold is not None
        positive = names[1 if prepared.positive is None else prepared.positive] if names and is_named else None
        name = prepared.experiment.name
        origin = Origin(job.study or name, job.trial, job.params, named, commit, positive, found.threshold, model=name)
        try:
            model, trained = fitted.finished(self._world), prepared.holdout.rest
            answering = Answering(names, names.index(positive) if names and positive else 1, found.threshold)
            profile = profile_of(model, prepared, answering, folds, found.temperature)
            return export(model, prepared.data, checked, trained, origin, Path(job.directory), profile)
        except ExportDiffersError:
            raise
        except Exception as error:
            raise ExportError(f"the model could not be exported: {type(error).__name__}: {error}") from error

    def _validating(self, job: FoldJob, curves: Curves) -> AfterEpoch:
        """Measure the metrics on a fold's validation rows, and ask whether it goes on."""
        every, rows = self._prepared.experiment.training.curves.every, self._prepared.folds[job.fold].validation

        def measure(fitted: Fitted, epoch: int, epochs: int) -> None:
            if epoch % every == 0 or epoch == epochs:
                metrics = fitted.score(self._prepared, rows, self._world)
                curves.add(epoch, **{f"val_{name}": value for name, value in metrics.items()})
                if epoch < epochs:
                    self._stop_or_go_on(job, epoch, metrics)

        return measure

    def _stop_or_go_on(self, job: FoldJob, epoch: int, metrics: Mapping[str, float]) -> None:
        """Raise StoppedError, on every rank alike, if the supervisor stops the fold with this epoch."""
        value = metrics.get(self._prepared.objective)
        if not self._prunes or value is None or not math.isfinite(value):
            return
        is_stopped = self._world.is_first and self._ask(EpochScored(job.trial, job.fold, epoch, value))
        if self._world.gather([float(is_stopped)])[0, 0]:
            raise StoppedError

    def _points(self, curves: Curves) -> Points:
        return curves.points() if self._keeps_curves else {}

    def _fold_by_loop(self, loop: Callable[..., Any], job: FoldJob, curves: Curves) -> FoldScored:
        fold, began = self._prepared.folds[job.fold], time.perf_counter()
        epochs, every = [0], self._prepared.experiment.training.curves.every

        def report(epoch: int, of: int, loss: float, /, **metrics: float) -> None:
            epochs.append(epoch)
            self._report(epoch, of, loss)
            named = {_curve_name(name): each for name, each in metrics.items()}
            curves.add(epoch, train_loss=loss, **named)
            if epoch < of and epoch % every == 0:
                self._stop_or_go_on(job, epoch, {name.removeprefix("val_"): each for name, each in named.items()})

        result = self._run_loop(loop, job.params, fold.train, fold.validation, job.fold, report)
        train_s = time.perf_counter() - began
        # The ranks' own metrics may differ; rank 0's count, so its verdict is the group's.
        is_finite = all(math.isfinite(value) for value in result.metrics.values())
        if not self._world.gather([float(is_finite)])[0, 0]:
            check_finite(result.metrics, f"fold {job.fold + 1}")
            raise DivergedError("a metric of rank 0 is not finite")
        return FoldScored(
            trial=job.trial,
            fold=job.fold,
            metrics=result.metrics,
            epochs=max(epochs),
            first_step_s=0.0,
            train_s=train_s,
            score_s=0.0,
            curves=self._points(curves),
        )

    def _refit_by_loop(self, loop: Callable[..., Any], job: Refit) -> Fitted:
        prepared, experiment = self._prepared, self._prepared.experiment
        splitter, seed = experiment.cross_validation.splitter, experiment.search.seed
        train, watch = split_watch(prepared.data, prepared.holdout.rest, _LOOP_WATCH, splitter, seed)
        result = self._run_loop(loop, job.params, train, watch, len(prepared.folds), self._report)
        if result.model is None:
            raise LookupError(
                "training.loop returned neither 'model' nor 'onnx', so there is nothing to score and export"
            )
        head = nn.Softmax(-1) if prepared.data.task == "classification" else nn.Identity()
        rows = self._data.raw_rows()
        loss = row_loss(experiment.training.loss, prepared.data.task)
        model = result.model.to(self._world.device)
        return Fitted(nn.Identity(), model, head, rows, loss, experiment.training.batch_size)

    def _run_loop(
        self,
        loop: Callable[..., Any],
        params: Mapping[str, Any],
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        index: int,
        on_epoch: OnEpoch,
    ) -> LoopResult:
        data, world = self._prepared.data, self._world
        seed = seeds_of(self._prepared.experiment.search.seed, index).weights
        torch.manual_seed(seed)
        weights = row_weights(data, self._prepared.experiment.training.class_weights, train)
        fold = LoopFold(
            train_features=self._rows(self._data.features, train),
            train_target=self._rows(self._data.target, train),
            validation_features=self._rows(self._data.features, validation),
            validation_target=self._rows(self._data.target, validation),
            train_weights=None if weights is None else torch.from_numpy(weights[train]).to(world.device),
            index=index,
            is_refit=index == len(self._prepared.folds),
            seed=seed,
            device=world.device,
            rank=world.rank,
            world_size=world.size,
            task=data.task,
            input_shape=data.raw_shape,
            outputs=data.outputs,
            columns=data.columns,
            feature_names=data.feature_names,
            _on_epoch=on_epoch,
            _world=world,
            _preprocess=lambda: self._data.learned(train, index, None).preprocess,
            _embedded=() if data.inputs is None else tuple(column.codes for column in data.inputs.embedded),
        )
        return run_loop(loop, fold, params, self._prepared.asked)

    def _rows(self, values: Tensor | RowSource, rows: NDArray[np.int64]) -> Any:
        """Some rows as a tensor; of rows that do not lie in memory something that is indexed like one."""
        if isinstance(values, RowSource):
            return FetchedInputs(SelectedRows(values, rows), nn.Identity(), self._world.device)
        return values[torch.from_numpy(rows).to(values.device)]

    def _report(self, epoch: int, epochs: int, loss: float, /, **metrics: float) -> None:
        self._send(Progress(epoch, epochs))


def _curve_name(metric: str) -> str:
    """The curve of what a training function reports: of the validation rows, unless the name says otherwise."""
    return metric if metric.startswith(("train_", "val_")) else f"val_{metric}"


@torch.no_grad()
def prefer_channels_last(network: nn.Module, inputs: Tensor) -> None:
    """Lay out convolutions with the channels last where torch's CPU kernels are faster, and the network allows it.

    Max pooling has a vector kernel for that layout alone: without it a step of two convolutions on 8×8 images takes 1.2
    to 1.6 times as long. A forward that views images as rows (`x.view(len(x), -1)`) does not allow it.

    Call it before an optimizer is made: its state takes the layout of the parameters.

    Args:
        inputs: some rows, [rows, *input_shape], to try the forward on.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    if inputs.device.type != "cpu" or not convolutions:
        return
    was_training = network.training
    for convolution in convolutions:
        convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.eval()
    try:
        network(inputs)
    except RuntimeError:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    network.train(was_training)


def fit(
    prepared: Prepared,
    world: World,
    data: FoldData,
    params: Mapping[str, Any],
    train_rows: NDArray[np.int64],
    fold: int,
    *,
    on_epoch: OnEpoch,
    on_step: OnStep | None = None,
    after_epoch: AfterEpoch | None = None,
) -> tuple[Fitted, Trained]:
    """Train one model on the given rows of the data set; all ranks together.

    Args:
        data: on the world's device.
        params: the trial's, as the space names them.

    Raises:
        DivergedError: the loss is not finite, on every rank alike.
        Exception: whatever a factory, an optimizer or a scheduler raises for these parameters.
    """
    experiment = prepared.experiment
    network, training = new_network(prepared, world, params, fold)
    learned = data.learned(train_rows, fold, training.early_stopping)
    rows = data.rows(learned)
    if not world.has_accelerator:
        prefer_channels_last(network, rows.inputs[:2])
    optimizer = make_optimizer(training.optimizer, network, world.device, is_scaled=training.precision == "fp16")
    loss = row_loss(training.loss, prepared.data.task)
    fitted = Fitted(learned.preprocess, network, learned.head, rows, loss, training.batch_size)
    trained = train(
        network,
        optimizer,
        rows,
        learned.order,
        learned.watch,
        loss,
        training,
        seeds_of(experiment.search.seed, fold).order,
        world,
        on_epoch=on_epoch,
        on_step=on_step,
        after_epoch=None if after_epoch is None else lambda epoch: after_epoch(fitted, epoch, training.epochs),
    )
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return fitted, trained

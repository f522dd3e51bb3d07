"""The two jobs of a group, done by all its ranks together: train and score a fold, and refit a trial for export."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import torch

from winnow.training.failures import DivergedError
from winnow.training.fitting import fit
from winnow.training.messages import FoldScored, FromRank, Progress, Refit, Refitted, TrainFold
from winnow.training.preparation import Prepared
from winnow.training.world import World

Send = Callable[[FromRank], None]


class Jobs:
    """Does jobs on data that was put on the device once."""

    def __init__(self, prepared: Prepared, world: World, send: Send) -> None:
        self._prepared, self._world, self._send = prepared, world, send
        self._features = torch.from_numpy(prepared.data.features).to(world.device)

    def train_fold(self, job: TrainFold) -> FoldScored:
        """Train on a fold's training rows and score its validation rows.

        Raises:
            DivergedError: a loss or a metric is not finite, on every rank alike.
            Exception: whatever the model raises, perhaps on one rank only.
        """
        fold = self._prepared.folds[job.fold]
        fitted = fit(
            self._prepared, self._world, self._features, job.params, fold.train, job.fold, on_epoch=self._report
        )
        began = time.perf_counter()
        metrics = fitted.score(self._prepared, fold.validation, self._world)
        check_finite(metrics, f"fold {job.fold + 1}")
        trained = fitted.trained
        return FoldScored(
            trial=job.trial,
            fold=job.fold,
            metrics=metrics,
            epochs=trained.epochs,
            first_step_s=trained.first_step_s,
            train_s=trained.train_s,
            score_s=time.perf_counter() - began,
        )

    def refit(self, job: Refit) -> Refitted:
        """Train on all but the holdout, score that once, and write the bundle (rank 0)."""
        raise NotImplementedError

    def _report(self, epoch: int, epochs: int, loss: float) -> None:
        self._send(Progress(epoch, epochs, loss))


def check_finite(metrics: Mapping[str, float], where: str) -> None:
    """Refuse metrics that are not numbers.

    Raises:
        DivergedError: names the first of them. All ranks compute metrics from the same gathered outputs.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(f"the metric {name} is {value} on {where}: not defined for these outputs, or diverged")

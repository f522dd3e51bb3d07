"""Pruning by epoch: whether the running fold of a trial is worth another epoch.

A fold's learning curve is compared with those of the other trials on the same fold, so that folds that are hard for
every trial do not count against one. The supervisor of the worker that trains the fold decides, by an Optuna pruner
whose verdict depends on the curves alone.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from winnow.config.experiment import Experiment
from winnow.study.optuna_pruning import FoldPruner
from winnow.study.optuna_tables import Goal
from winnow.study.schedule import ScheduledTrial
from winnow.tracking.records import Curves


@dataclass(frozen=True)
class FoldCurves:
    """The curves of one fold of a trial; `is_scored`: the fold was trained to its end."""

    trial: int
    fold: int
    curves: Curves
    is_scored: bool


class EpochPruner:
    """Judges folds by the objective on their validation rows.

    Args:
        read: the curves of the study's folds; called before the first epoch of a fold.
    """

    def __init__(
        self, experiment: Experiment, metric: str, goal: Goal, read: Callable[[], tuple[FoldCurves, ...]]
    ) -> None:
        pruner = experiment.search.pruner
        self._every = experiment.training.curves.every
        self._curve, self._read = f"val_{metric}", read
        steps = max(1, experiment.training.epochs // self._every)
        self._make = lambda: FoldPruner(pruner, goal, steps, by_epoch=True)
        self._pruners: defaultdict[int, FoldPruner] = defaultdict(self._make)
        self._others: tuple[ScheduledTrial, ...] = ()
        self._running: tuple[int, int] | None = None
        self._values: dict[int, float] = {}

    def should_stop(self, trial: int, fold: int, epoch: int, value: float) -> str | None:
        """The reason to stop the fold of a trial after an epoch (from 1) with this value; None: it goes on."""
        if self._running != (trial, fold):
            self._running, self._values = (trial, fold), {}
            found = (each for each in self._read() if each.fold == fold and each.trial != trial)
            self._others = tuple(self._as_trial(each) for each in found if self._curve in each.curves)
        self._values[epoch] = value
        own = ScheduledTrial(trial, "running", scores=stepped(self._values, self._every))
        pruner = self._pruners[fold]
        if not pruner.should_prune(trial, (*self._others, own)):
            return None
        return f"fold {fold + 1}, epoch {epoch}: {pruner.name} stopped it"

    def _as_trial(self, found: FoldCurves) -> ScheduledTrial:
        scores = stepped(dict(found.curves[self._curve]), self._every)
        return ScheduledTrial(found.trial, "complete" if found.is_scored else "pruned", scores=scores)


def stepped(values: Mapping[int, float], every: int) -> tuple[float, ...]:
    """The values after `every`, 2 × `every`, … epochs; for an epoch without one the value before it.

    Curves that are kept have no more than some points, so that epochs of long trainings are missing.
    """
    epochs, first = sorted(values), next(iter(values.values()))
    places = (bisect.bisect(epochs, epoch) for epoch in range(every, epochs[-1] + 1, every))
    return tuple(values[epochs[place - 1]] if place else first for place in places) or (first,)

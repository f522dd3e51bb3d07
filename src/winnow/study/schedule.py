"""What to train next: one pure decision about a study as it stands.

`Leases.claim` reads the study into a `ScheduleView`, calls `next_jobs`, and takes the leases that the jobs need, all in
one transaction. The worker carries the jobs out and records what comes of them. Everything strategic is decided here:
the order of trials and folds, pruning, refits, and the report. Nothing here reads a clock, a database or a file.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from winnow.study.pruning import should_prune
from winnow.tracking.records import TrialState


@dataclass(frozen=True)
class TrialFold:
    """One fold (0-based) of one trial. `trial` is None for a trial that does not exist yet."""

    trial: int | None
    fold: int


@dataclass(frozen=True)
class TrainFolds:
    """Train these folds together. The sampler proposes parameters for a trial that has none."""

    pairs: tuple[TrialFold, ...]


@dataclass(frozen=True)
class FinishTrial:
    """End a trial. `value` is the mean of its fold scores, `reason` says why it was pruned."""

    trial: int
    end: Literal["complete", "pruned"]
    value: float
    reason: str | None = None


@dataclass(frozen=True)
class RefitTrial:
    """Train a trial's model on all but the holdout, and register it."""

    trial: int


@dataclass(frozen=True)
class WriteReport:
    """Write the closing report over so many trials."""

    trials: int


Job = TrainFolds | FinishTrial | RefitTrial | WriteReport


@dataclass(frozen=True)
class ScheduleRules:
    """What the experiment says about the order of work.

    Attributes:
        folds: how many folds a complete trial has.
        metric: the objective, and `goal` which way it is better.
        pruner: whether a trial may end before its last fold.
        refit_top: how many of the best trials are refitted after the last trial.
    """

    folds: int
    metric: str
    goal: Literal["maximize", "minimize"]
    pruner: Literal["off", "median"]
    refit_top: int


@dataclass(frozen=True)
class ScheduledTrial:
    """One trial.

    Attributes:
        folds: the folds that are recorded, in order, and `scores` theirs. A trial that can no longer be trained has
            them only where a pruner compares others with it.
        value: the mean that it ended with.
        owner: the worker that holds its lease.
    """

    number: int
    state: TrialState
    folds: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    value: float | None = None
    owner: str | None = None


@dataclass(frozen=True)
class ClosingTask:
    """The refit of trial `number`, or the report over `number` trials. `owner` holds its lease."""

    number: int
    state: Literal["waiting", "leased", "done", "failed"]
    owner: str | None = None


@dataclass(frozen=True)
class ScheduleView:
    """A study at one moment, as far as the schedule depends on it. Leases that have expired are given back before.

    Attributes:
        owner: the worker that asks.
        target: how many trials the study is to have.
        trials: all of them, by number.
        refits: those that were asked for or begun, by trial.
        reports: those that were begun, by the number of trials that they cover.
    """

    rules: ScheduleRules
    owner: str
    target: int
    trials: tuple[ScheduledTrial, ...] = ()
    refits: tuple[ClosingTask, ...] = ()
    reports: tuple[ClosingTask, ...] = ()


def next_jobs(view: ScheduleView, capacity: int) -> tuple[Job, ...]:
    """The jobs, at most `capacity`, that the worker `view.owner` carries out now; those that it holds come first.

    An empty answer means that the study is finished, or that others hold all that is left (`is_finished`).
    """
    return tuple(islice(_jobs(view), capacity))


def is_finished(view: ScheduleView) -> bool:
    """Whether nothing is left to do, for any worker."""
    owners = (*(trial.owner for trial in view.trials), *(task.owner for task in (*view.refits, *view.reports)))
    return not any(owners) and not next_jobs(view, 1)


def _jobs(view: ScheduleView) -> Iterator[Job]:
    """What is held, lost and waiting trials, new trials; refits once every trial has ended; then the report."""
    yield from _held(view)
    for trial in view.trials:
        if trial.state == "waiting":
            yield _next_fold(view.rules, trial) or _complete(trial)
    for _ in range(view.target - len(view.trials)):
        yield TrainFolds((TrialFold(None, 0),))
    if len(view.trials) >= view.target and all(_is_settled(trial) for trial in view.trials):
        yield from _closing(view)


def _held(view: ScheduleView) -> Iterator[Job]:
    for trial in view.trials:
        if trial.owner == view.owner:
            yield _after_a_fold(view, trial)
    yield from (RefitTrial(refit.number) for refit in view.refits if refit.owner == view.owner)
    yield from (WriteReport(report.number) for report in view.reports if report.owner == view.owner)


def _after_a_fold(view: ScheduleView, trial: ScheduledTrial) -> Job:
    """A trial's next fold, unless that was its last or its scores are not worth another."""
    train = _next_fold(view.rules, trial)
    if train is None:
        return _complete(trial)
    if view.rules.pruner == "off":
        return train
    others = [other.scores for other in view.trials if other.state in ("complete", "pruned")]
    if not should_prune(trial.scores, others, view.rules.goal):
        return train
    side = "below" if view.rules.goal == "maximize" else "above"
    reason = f"its mean after {len(trial.scores)} fold(s) is {side} the median"
    return FinishTrial(trial.number, "pruned", statistics.fmean(trial.scores), reason)


def _next_fold(rules: ScheduleRules, trial: ScheduledTrial) -> TrainFolds | None:
    """The first fold that is not recorded."""
    for fold in range(rules.folds):
        if fold not in trial.folds:
            return TrainFolds((TrialFold(trial.number, fold),))
    return None


def _complete(trial: ScheduledTrial) -> FinishTrial:
    return FinishTrial(trial.number, "complete", statistics.fmean(trial.scores))


def _is_settled(trial: ScheduledTrial) -> bool:
    return trial.state != "waiting" and trial.owner is None


def _closing(view: ScheduleView) -> Iterator[Job]:
    """Refits of the best trials and those that were asked for; the report once no worker holds a refit."""
    known = {refit.number for refit in view.refits}
    new = [number for number in _best(view) if number not in known]
    asked = [refit.number for refit in view.refits if refit.state == "waiting"]
    yield from (RefitTrial(number) for number in (*new, *asked))
    if new or asked or any(task.owner is not None for task in (*view.refits, *view.reports)):
        return
    report = next((report for report in view.reports if report.number == view.target), None)
    if report is None or report.state == "waiting":
        yield WriteReport(view.target)


def _best(view: ScheduleView) -> list[int]:
    """Numbers of the best complete trials, best first; ties go to the earlier one."""
    sign = -1.0 if view.rules.goal == "maximize" else 1.0
    values = [(trial.value, trial.number) for trial in view.trials if trial.state == "complete"]
    ranked = sorted((sign * value, number) for value, number in values if value is not None)
    return [number for _, number in ranked[: view.rules.refit_top]]

"""What to train next: one pure decision about a study.

`Leases.claim` reads the study into a `ScheduleView`, calls `next_jobs`, and takes the leases of the jobs in one
transaction. The worker carries out the jobs and records the results. This module alone decides the order of trials and
folds, pruning, refits, and the report. It reads no clock, database or file.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from winnow.study.packing import Packing
from winnow.study.racing import FINISHED_TRIALS, THRESHOLD, Reference, reference
from winnow.tracking.records import TrialState

if TYPE_CHECKING:
    from winnow.study.optuna_pruning import FoldPruner

MEDIAN_TRIALS = 5
"""How many trials must have ended before their median counts (Optuna's default)."""


def should_prune(
    scores: Sequence[float], others: Sequence[Sequence[float]], goal: Literal["maximize", "minimize"]
) -> bool:
    """The median rule: whether a trial's mean over its folds so far is worse than the median of others over as many.

    Optuna's MedianPruner compares a trial's best single report, which is meaningless if each report is another fold.
    `others`: fold scores, in order, of every trial that has ended and did not fail.
    """
    folds = len(scores)
    reached = [other[:folds] for other in others if len(other) >= folds]
    if folds == 0 or len(others) < MEDIAN_TRIALS or not reached:
        return False
    mean = statistics.fmean(scores)
    median = statistics.median(statistics.fmean(other) for other in reached)
    return mean < median if goal == "maximize" else mean > median


@dataclass(frozen=True)
class TrialFold:
    """One fold (0-based) of one trial, which may be a new one."""

    trial: int
    fold: int


@dataclass(frozen=True)
class TrainFolds:
    """Train these folds together; those of one trial are adjacent. New trials get parameters from the sampler."""

    pairs: tuple[TrialFold, ...]


@dataclass(frozen=True)
class FinishTrial:
    """End a trial.

    `value` is the mean of its fold scores; for a pruned trial an estimate of the mean over all folds, from which the
    sampler learns. `reason` says why the trial was pruned.
    """

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
    """Write the closing report over so many trials.

    `refits` counts the ended attempts at refits. A report with another count is outdated.
    """

    trials: int
    refits: int = 0


Job = TrainFolds | FinishTrial | RefitTrial | WriteReport


LEARNED_FROM = 8
"""Once the sampler learns, one trial may run for each so many that have ended."""

ALONE = Packing()
"""Every model trains alone."""

STARTUP_TRIALS = 10
"""TPE proposes so many trials at random before it learns (Optuna's default)."""


@dataclass(frozen=True)
class ScheduleRules:
    """The experiment's rules for the order of work.

    Attributes:
        folds: how many folds a complete trial has.
        metric: the objective.
        pruner: the rule by which a trial may end before its last fold.
        racing_threshold: racing ends a trial whose probability of beating the best one is lower.
        refit_top: how many of the best trials are refitted after the last trial.
        workers: how many workers share the trials.
        is_learning: whether the sampler learns from ended trials.
        startup: how many trials it proposes at random before it learns.
        judge: the pruner `optuna`, which is asked after each fold.
    """

    folds: int
    metric: str
    goal: Literal["maximize", "minimize"]
    pruner: Literal["off", "median", "racing", "optuna"]
    refit_top: int
    racing_threshold: float = THRESHOLD
    workers: int = 1
    is_learning: bool = True
    startup: int = STARTUP_TRIALS
    judge: FoldPruner | None = None


@dataclass(frozen=True)
class ScheduledTrial:
    """One trial.

    Attributes:
        folds, scores: the recorded folds in order, and their objectives.
        value: the mean at its end; for a pruned trial an estimate.
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
    """The refit of trial `number`, or the report over `number` trials.

    Attributes:
        owner: the worker that holds its lease.
        attempt: how often it was begun.
        refits: what a report was written with (`WriteReport.refits`).
    """

    number: int
    state: Literal["waiting", "leased", "done", "failed"]
    owner: str | None = None
    attempt: int = 0
    refits: int = 0


@dataclass(frozen=True)
class ScheduleView:
    """A study at one moment, without expired leases.

    Attributes:
        owner: the worker that asks.
        target: how many trials the study is to have.
        trials: all trials, by number.
        refits: requested and started refits, by trial.
        reports: started reports, by the number of trials that they cover.
    """

    rules: ScheduleRules
    owner: str
    target: int
    trials: tuple[ScheduledTrial, ...] = ()
    refits: tuple[ClosingTask, ...] = ()
    reports: tuple[ClosingTask, ...] = ()


def next_jobs(view: ScheduleView, packing: Packing = ALONE) -> tuple[Job, ...]:
    """The next jobs of the worker `view.owner`, in order; it continues its own trials first.

    Trials with all their folds end, and so do those that are not worth another fold. Then at most one job trains,
    refits or reports. An empty answer means that the study is finished, or that others have the rest (`is_finished`).
    """
    known = _finished(view)
    held = [_after_a_fold(view, known, trial) for trial in view.trials if trial.owner == view.owner]
    waiting = [_next_folds(view.rules, trial) or _complete(trial) for trial in view.trials if trial.state == "waiting"]
    ends = tuple(job for job in (*held, *waiting) if isinstance(job, FinishTrial))
    begun = [job for job in (*held, *waiting) if isinstance(job, TrainFolds)]
    train = _together(view, begun, packing)
    if ends or train is not None:
        return (*ends, *((train,) if train is not None else ()))
    return tuple(islice(_closing(view), 1))


def is_finished(view: ScheduleView) -> bool:
    """Whether nothing is left to do for any worker."""
    owners = (*(trial.owner for trial in view.trials), *(task.owner for task in (*view.refits, *view.reports)))
    return not any(owners) and not next_jobs(view)


def _together(view: ScheduleView, begun: Sequence[TrainFolds], packing: Packing) -> TrainFolds | None:
    """One job of trials that have begun, and of new ones if there is room."""
    rules = view.rules
    ended = sum(trial.state in ("complete", "pruned") for trial in view.trials)
    most = len(begun) + _new_at_once(view, len(begun), ended)
    width = packing.width(rules.folds, most, is_racing=rules.pruner != "off" and ended >= FINISHED_TRIALS)
    new = range(len(view.trials), view.target)[: max(0, min(most, width.trials) - len(begun))]
    pairs = (
        *(pair for trial in begun[: width.trials] for pair in trial.pairs[: width.folds]),
        *(TrialFold(number, fold) for number in new for fold in range(width.folds)),
    )
    return TrainFolds(pairs) if pairs else None


def _new_at_once(view: ScheduleView, begun: int, ended: int) -> int:
    """How many new trials may join `begun` others. A sampler that proposes many at once has learned from few.

    All trials that it proposes at random may run at once; later an eighth as many as have ended
    (`benchmarks/packed_search.py`). Workers share them equally, and the last trials, too.
    """
    rules = view.rules
    room = view.target - len(view.trials)
    if rules.is_learning:
        at_work = sum(not _is_settled(trial) for trial in view.trials)
        room = min(room, max(rules.startup - len(view.trials), ended // LEARNED_FROM - at_work))
    return max(0 if begun else 1, -(-room // rules.workers))


def _after_a_fold(view: ScheduleView, known: Reference | None, trial: ScheduledTrial) -> TrainFolds | FinishTrial:
    """Train a trial's next folds, or end it: after its last fold, or because it is not worth another."""
    train = _next_folds(view.rules, trial)
    if train is None:
        return _complete(trial)
    by_fold = dict(zip(trial.folds, trial.scores, strict=True))
    reason = _reason_to_prune(view, known, trial.number, by_fold)
    if reason is None:
        return train
    value = known.finished.estimate(by_fold) if known is not None else statistics.fmean(trial.scores)
    return FinishTrial(trial.number, "pruned", value, reason)


def _reason_to_prune(
    view: ScheduleView, known: Reference | None, number: int, by_fold: Mapping[int, float]
) -> str | None:
    rules, folds = view.rules, "1 fold" if len(by_fold) == 1 else f"{len(by_fold)} folds"
    if rules.pruner == "racing" and known is not None:
        chance = known.chance(by_fold)
        if chance is not None and chance < rules.racing_threshold:
            shown = f"{100 * chance:.2g} %" if chance >= 1e-4 else "less than 0.01 %"
            return f"{folds}: it would beat trial {known.incumbent} with a probability of {shown}"
    if rules.pruner == "median":
        others = [other.scores for other in view.trials if other.state in ("complete", "pruned")]
        if should_prune(list(by_fold.values()), others, rules.goal):
            return f"{folds}: its mean is {'below' if rules.goal == 'maximize' else 'above'} the median"
    if rules.judge is not None and by_fold and rules.judge.should_prune(number, view.trials):
        return f"{folds}: {rules.judge.name} stopped it"
    return None


def _finished(view: ScheduleView) -> Reference | None:
    """The trials with all folds, as a reference for racing; some of them may end in this claim."""
    has_begun = any(trial.owner == view.owner and trial.scores for trial in view.trials)
    if view.rules.pruner == "off" or not has_begun:
        return None
    finished = {
        trial.number: trial.scores
        for trial in view.trials
        if len(trial.scores) == view.rules.folds and trial.state != "failed"
    }
    return reference(finished, view.rules.goal)


def _next_folds(rules: ScheduleRules, trial: ScheduledTrial) -> TrainFolds | None:
    """The folds that are not recorded."""
    pairs = tuple(TrialFold(trial.number, fold) for fold in range(rules.folds) if fold not in trial.folds)
    return TrainFolds(pairs) if pairs else None


def _complete(trial: ScheduledTrial) -> FinishTrial:
    return FinishTrial(trial.number, "complete", statistics.fmean(trial.scores))


def _is_settled(trial: ScheduledTrial) -> bool:
    return trial.state != "waiting" and trial.owner is None


def refits_left(view: ScheduleView) -> tuple[int, ...]:
    """Trials whose refits have not ended: the best ones, best first, then those that a user requested."""
    known = {refit.number: refit.state for refit in view.refits}
    return tuple(n for n in dict.fromkeys((*_best(view), *known)) if known.get(n) not in ("done", "failed"))


def _closing(view: ScheduleView) -> Iterator[Job]:
    """The best trial's refit, the report (users wait for these two only), the other refits, and an updated report."""
    told = sum(refit.attempt for refit in view.refits if refit.state in ("done", "failed"))
    yield from (RefitTrial(refit.number) for refit in view.refits if refit.owner == view.owner)
    yield from (WriteReport(report.number, told) for report in view.reports if report.owner == view.owner)
    if len(view.trials) < view.target or not all(_is_settled(trial) for trial in view.trials):
        return
    report = next((report for report in view.reports if report.number == view.target), None)
    left, leased = refits_left(view), {refit.number for refit in view.refits if refit.owner is not None}
    if not set(_best(view)[:1]) & set(left) and (report is None or report.state == "waiting"):
        yield WriteReport(view.target, told)
    yield from (RefitTrial(number) for number in left if number not in leased)
    if not left and report is not None and report.state in ("done", "failed") and report.refits != told:
        yield WriteReport(view.target, told)


def _best(view: ScheduleView) -> list[int]:
    """Numbers of the best complete trials, best first, of equal ones the earlier first."""
    sign = -1.0 if view.rules.goal == "maximize" else 1.0
    values = [(trial.value, trial.number) for trial in view.trials if trial.state == "complete"]
    ranked = sorted((sign * value, number) for value, number in values if value is not None)
    return [number for _, number in ranked[: view.rules.refit_top]]

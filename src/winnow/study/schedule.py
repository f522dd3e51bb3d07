"""What to train next: one pure decision about a study as it stands.

`Leases.claim` reads the study into a `ScheduleView`, calls `next_jobs`, and takes the leases that the jobs need, all in
one transaction. The worker carries the jobs out and records what comes of them. Everything strategic is decided here:
the order of trials and folds, pruning, refits, and the report. Nothing here reads a clock, a database or a file.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from winnow.study.packing import Packing
from winnow.study.pruning import should_prune
from winnow.study.racing import FINISHED_TRIALS, THRESHOLD, Reference, reference
from winnow.tracking.records import TrialState


@dataclass(frozen=True)
class TrialFold:
    """One fold (0-based) of one trial. A number that no trial has yet is that of a new one."""

    trial: int
    fold: int


@dataclass(frozen=True)
class TrainFolds:
    """Train these folds together. The sampler proposes parameters for a trial that has none.

    Folds of one trial follow one another.
    """

    pairs: tuple[TrialFold, ...]


@dataclass(frozen=True)
class FinishTrial:
    """End a trial.

    `value` is the mean of its fold scores; of a pruned trial it is an estimate of that mean over all folds, which the
    sampler learns from. `reason` says why the trial was pruned.
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

    `refits` counts the attempts at refits that have ended. A report that was written with another count is outdated.
    """

    trials: int
    refits: int = 0


Job = TrainFolds | FinishTrial | RefitTrial | WriteReport


LEARNED_FROM = 8
"""How many trials must have ended for each that is at work, once the sampler learns."""

ALONE = Packing()
"""Every model trains alone."""

STARTUP_TRIALS = 10
"""How many trials TPE proposes at random before it learns (Optuna's default)."""


@dataclass(frozen=True)
class ScheduleRules:
    """What the experiment says about the order of work.

    Attributes:
        folds: how many folds a complete trial has.
        metric: the objective, and `goal` which way it is better.
        pruner: whether a trial may end before its last fold, and by which rule.
        racing_threshold: the probability of beating the best trial below which racing ends a trial.
        refit_top: how many of the best trials are refitted after the last trial.
        workers: how many workers share the trials.
        is_learning: whether the sampler learns from trials that have ended.
    """

    folds: int
    metric: str
    goal: Literal["maximize", "minimize"]
    pruner: Literal["off", "median", "racing"]
    refit_top: int
    racing_threshold: float = THRESHOLD
    workers: int = 1
    is_learning: bool = True


@dataclass(frozen=True)
class ScheduledTrial:
    """One trial.

    Attributes:
        folds: the folds that are recorded, in order, and `scores` theirs. A trial that can no longer be trained has
            them only where a pruner compares others with it.
        value: the mean that it ended with; of a pruned trial an estimate of it.
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


def next_jobs(view: ScheduleView, packing: Packing = ALONE) -> tuple[Job, ...]:
    """The jobs that the worker `view.owner` carries out now, in order; those that it holds come first.

    Trials that have all their folds, or are not worth another, end; then at most one job trains, refits or reports. An
    empty answer means that the study is finished, or that others hold all that is left (`is_finished`).
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
    """Whether nothing is left to do, for any worker."""
    owners = (*(trial.owner for trial in view.trials), *(task.owner for task in (*view.refits, *view.reports)))
    return not any(owners) and not next_jobs(view)


def _together(view: ScheduleView, begun: Sequence[TrainFolds], packing: Packing) -> TrainFolds | None:
    """One job of trials that have begun, and of new ones where there is room."""
    rules = view.rules
    ended = sum(trial.state in ("complete", "pruned") for trial in view.trials)
    most = len(begun) + _new_at_once(view, len(begun), ended)
    width = packing.width(rules.folds, most, is_racing=rules.pruner != "off" and ended >= FINISHED_TRIALS)
    new = range(len(view.trials), view.target)[: max(0, min(most, width.trials) - len(begun))]
    trials = [*begun[: width.trials], *(_all_folds(rules, number) for number in new)]
    pairs = tuple(pair for trial in trials for pair in trial.pairs[: width.folds])
    return TrainFolds(pairs) if pairs else None


def _new_at_once(view: ScheduleView, begun: int, ended: int) -> int:
    """How many new trials may join `begun` others: a sampler that is asked for many at once has learned from few.

    The trials that it proposes at random, before it learns, may all be at work at once; later an eighth as many as have
    ended (`benchmarks/packed_search.py`). Workers share them, and the last trials too.
    """
    rules = view.rules
    room = view.target - len(view.trials)
    if rules.is_learning:
        at_work = sum(not _is_settled(trial) for trial in view.trials)
        room = min(room, max(STARTUP_TRIALS - len(view.trials), ended // LEARNED_FROM - at_work))
    return max(0 if begun else 1, -(-room // rules.workers))


def _after_a_fold(view: ScheduleView, known: Reference | None, trial: ScheduledTrial) -> TrainFolds | FinishTrial:
    """A trial's next folds, unless that was its last or its scores are not worth another."""
    train = _next_folds(view.rules, trial)
    if train is None:
        return _complete(trial)
    by_fold = dict(zip(trial.folds, trial.scores, strict=True))
    reason = _reason_to_prune(view, known, by_fold)
    if reason is None:
        return train
    value = known.estimate(by_fold) if known is not None else statistics.fmean(trial.scores)
    return FinishTrial(trial.number, "pruned", value, reason)


def _reason_to_prune(view: ScheduleView, known: Reference | None, by_fold: Mapping[int, float]) -> str | None:
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
    return None


def _finished(view: ScheduleView) -> Reference | None:
    """What trials of this owner are compared with: all that have every fold. Some may end in the same claim."""
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


def _all_folds(rules: ScheduleRules, number: int) -> TrainFolds:
    return TrainFolds(tuple(TrialFold(number, fold) for fold in range(rules.folds)))


def _complete(trial: ScheduledTrial) -> FinishTrial:
    return FinishTrial(trial.number, "complete", statistics.fmean(trial.scores))


def _is_settled(trial: ScheduledTrial) -> bool:
    return trial.state != "waiting" and trial.owner is None


def refits_left(view: ScheduleView) -> tuple[int, ...]:
    """Trials whose refits have not ended: the best ones, best first, then those that were asked for."""
    known = {refit.number: refit.state for refit in view.refits}
    return tuple(n for n in dict.fromkeys((*_best(view), *known)) if known.get(n) not in ("done", "failed"))


def _closing(view: ScheduleView) -> Iterator[Job]:
    """The best trial's refit, the report, the other refits, and the report once more with what came of them.

    A person waits for the first two alone.
    """
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
    """Numbers of the best complete trials, best first; ties go to the earlier one."""
    sign = -1.0 if view.rules.goal == "maximize" else 1.0
    values = [(trial.value, trial.number) for trial in view.trials if trial.state == "complete"]
    ranked = sorted((sign * value, number) for value, number in values if value is not None)
    return [number for _, number in ranked[: view.rules.refit_top]]

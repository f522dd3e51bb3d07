"""Counts, times and spreads of a study, for its report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from winnow.study.certainty import quantile
from winnow.study.formatting import spread
from winnow.study.view import StudyView
from winnow.tracking.records import TrialRecord, TrialState

STATES: tuple[TrialState, ...] = ("complete", "pruned", "failed", "running", "waiting")
ENDED = frozenset({"complete", "pruned", "failed"})

PAUSE_MS = 120_000
"""A longer silence is a pause between two sittings, which does not count as wall time."""


@dataclass(frozen=True)
class TrialFacts:
    """One trial, and statistics of its folds.

    Attributes:
        scores: the objective on each trained fold, by fold number (0-based).
        mean: its value; until it has ended, the mean over its trained folds.
        std: sample standard deviation between its folds.
        train_s: time spent training its folds.
    """

    record: TrialRecord
    scores: Mapping[int, float]
    mean: float | None
    std: float | None
    train_s: float


@dataclass(frozen=True)
class Sitting:
    """A period without pauses in which the study ran."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Facts:
    """A study in numbers.

    Attributes:
        counts: number of trials in each state, including states without trials.
        asked: number of trials that the study is to hold; None if unknown.
        wall_s: total length of all sittings.
        trials_per_min: ended trials per minute of wall time; None if there are none.
    """

    trials: tuple[TrialFacts, ...]
    counts: Mapping[TrialState, int]
    asked: int | None
    folds_trained: int
    workers: tuple[str, ...]
    sittings: tuple[Sitting, ...]
    wall_s: float
    trials_per_min: float | None
    winner: TrialFacts | None

    @property
    def complete(self) -> tuple[TrialFacts, ...]:
        """The trials that have a value."""
        return tuple(trial for trial in self.trials if trial.record.state == "complete" and trial.mean is not None)


def facts_of(view: StudyView) -> Facts:
    """The facts about a study."""
    trials = tuple(_trial_facts(trial, view.sweep.metric) for trial in view.trials)
    counted = Counter(trial.state for trial in view.trials)
    counts = {state: counted[state] for state in STATES}
    sittings = sittings_of(view)
    wall_s = sum(sitting.end_ms - sitting.start_ms for sitting in sittings) / 1000
    ended = sum(counts[state] for state in counts if state in ENDED)
    workers = {fold.worker for trial in view.trials for fold in trial.folds} | {each.worker for each in view.incidents}
    return Facts(
        trials=trials,
        counts=counts,
        asked=view.target,
        folds_trained=sum(len(trial.folds) for trial in view.trials),
        workers=tuple(sorted(workers, key=_natural)),
        sittings=sittings,
        wall_s=wall_s,
        trials_per_min=ended / wall_s * 60 if ended and wall_s > 0 else None,
        winner=next((trial for trial in trials if trial.record.number == view.winner), None),
    )


def sittings_of(view: StudyView) -> tuple[Sitting, ...]:
    """When the study ran, without pauses of more than `PAUSE_MS`."""
    merged: list[Sitting] = []
    for start_ms, end_ms in sorted(_busy(view)):
        if merged and start_ms - merged[-1].end_ms <= PAUSE_MS:
            merged[-1] = Sitting(merged[-1].start_ms, max(merged[-1].end_ms, end_ms))
        else:
            merged.append(Sitting(start_ms, end_ms))
    return tuple(merged)


def robust_range(values: Iterable[float], *, maximize: bool) -> tuple[float, float] | None:
    """The range from the best value to the worst one that is not an outlier; None without values.

    Outliers are values on the worse side that are more than three interquartile ranges from the quartile (Tukey's outer
    fence). With a diverged trial, all others would otherwise appear as one line.
    """
    ordered = sorted(value for value in values if math.isfinite(value))
    if not ordered:
        return None
    lower, upper = quantile(ordered, 0.25), quantile(ordered, 0.75)
    fence = 3 * (upper - lower)
    low = min((v for v in ordered if v >= lower - fence), default=ordered[0]) if maximize else ordered[0]
    high = ordered[-1] if maximize else max((v for v in ordered if v <= upper + fence), default=ordered[-1])
    return low, high


def _trial_facts(trial: TrialRecord, metric: str) -> TrialFacts:
    scores = {fold.fold: fold.metrics[metric] for fold in trial.folds if metric in fold.metrics}
    finite = [value for value in scores.values() if math.isfinite(value)]
    mean = trial.value if trial.value is not None else fmean(finite) if finite else None
    return TrialFacts(
        record=trial,
        scores=scores,
        mean=mean if mean is not None and math.isfinite(mean) else None,
        std=spread(list(scores.values())),
        train_s=sum(fold.train_s for fold in trial.folds),
    )


def _busy(view: StudyView) -> Iterable[tuple[int, int]]:
    yield view.sweep.started_at_ms, view.sweep.started_at_ms
    for trial in view.trials:
        for fold in trial.folds:
            yield fold.started_at_ms, fold.ended_at_ms
        if trial.state == "running":
            begun = max((fold.ended_at_ms for fold in trial.folds), default=trial.started_at_ms)
            yield min(begun, view.generated_at_ms), view.generated_at_ms
        elif trial.ended_at_ms is not None:
            yield trial.ended_at_ms, trial.ended_at_ms
        if trial.holdout_at_ms is not None:
            yield trial.holdout_at_ms, trial.holdout_at_ms
    for incident in view.incidents:
        start_ms = incident.at_ms if incident.started_at_ms is None else incident.started_at_ms
        yield min(start_ms, incident.at_ms), incident.at_ms


def _natural(name: str) -> tuple[str, int, str]:
    """Sort key by trailing number: group-2 before group-10."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or -1), name

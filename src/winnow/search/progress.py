"""What a person reads while a sweep runs, as text: pure functions from a study's state to lines.

Who writes the lines to a terminal, and when, is `winnow.orchestrators.progress`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WorkerState = Literal["starting", "training", "refitting", "waiting", "stopped"]


@dataclass(frozen=True)
class WorkerStatus:
    """What one worker group does now.

    Attributes:
        trial: number of its trial, None where it has none.
        fold: the fold in training, 1-based, of `folds`.
        epoch: epochs finished in this fold, of `epochs`.
        since_ms: when it began what it does now: the fold, the refit, the waiting.
    """

    worker: str
    state: WorkerState
    trial: int | None
    fold: int | None
    folds: int
    epoch: int | None
    epochs: int | None
    since_ms: int


@dataclass(frozen=True)
class StudyStatus:
    """Where a sweep stands.

    Attributes:
        trials_done: trials that have ended, however: complete, pruned or failed.
        failed, pruned: how many of them ended so.
        best, best_trial: the best mean so far and the trial that has it; None before the first complete trial.
        folds_done: folds that this sweep has finished since `started_at_ms`, for the pace.
        folds_total: folds it will have finished at its end, as far as can be said (pruned and failed trials train fewer).
        started_at_ms, now_ms: milliseconds since the epoch.
    """

    study: str
    trials_done: int
    trials_total: int
    failed: int
    pruned: int
    best: float | None
    best_trial: int | None
    goal: Literal["maximize", "minimize"]
    workers: tuple[WorkerStatus, ...]
    started_at_ms: int
    now_ms: int
    folds_done: int
    folds_total: int

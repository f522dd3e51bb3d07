"""What the rest of winnow asks of a tracking store.

Two implementations pass `tests/contracts/test_trackers.py`: `mlflow_tracker.MlflowTracker` and
`memory_tracker.MemoryTracker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from winnow.tracking.records import SweepRecord, TrialRecord, TrialState


class TrackingUnavailableError(Exception):
    """The store did not answer, or answered that it cannot now: worth another try later."""


@dataclass(frozen=True)
class Sent:
    """What a run already holds, so that only the rest is sent.

    Attributes:
        run_id: the run, or None where none was made yet.
        folds: numbers of the folds whose metrics are there.
        is_final: the run has ended with the trial's last state.
        holdout: the holdout's metrics are there.
        state: the trial's state that the run shows; None where its parameters are not there yet.
    """

    run_id: str | None = None
    folds: frozenset[int] = frozenset()
    is_final: bool = False
    holdout: bool = False
    state: TrialState | None = None


@dataclass(frozen=True)
class ModelVersion:
    """A registered model's version."""

    name: str
    version: str
    run_id: str


class Tracker(Protocol):
    """Writes the projection of a study. Every call is idempotent and raises only TrackingUnavailableError."""

    @property
    def calls(self) -> int:
        """Requests made to the store so far; for the budget that the tests hold it to."""

    def start_sweep(self, sweep: SweepRecord) -> str:
        """Make the sweep's parent run, or find it; return its id."""

    def sync_trial(self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent) -> Sent:
        """Bring the trial's run up to the record; return what it holds afterwards.

        `sent` as returned by the last call for this trial, or `Sent()`. With `Sent()` the run is found by its tags
        first, unless the trial has visibly just begun (running, first attempt, no folds, no `run_id`).
        At most one request per new fold and six per trial beside them; a refit's holdout, which comes later, one more.
        """

    def log_bundle(self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, bundle: Path) -> ModelVersion:
        """Store a refitted model's bundle with its run and register it. A second call with the same run and the same
        model digest returns the version of the first."""

    def finish_sweep(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], report: Path | None
    ) -> None:
        """Put the summary (best value, counts by state, best trial) and the report on the parent run, and end it."""

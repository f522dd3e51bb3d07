"""What the rest of winnow asks of a tracking store.

Two implementations pass `tests/contracts/test_trackers.py`: `mlflow_tracker.MlflowTracker` and
`memory_tracker.MemoryTracker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from winnow.tracking.records import SweepRecord, TrialRecord, TrialState


class TrackingUnavailableError(Exception):
    """The store did not answer, or answered that it cannot now: worth another try later."""


class NoStoreError(TrackingUnavailableError):
    """The store is a file that does not exist yet: nothing was ever tracked."""


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


Keep = Callable[[str], str]
"""Offers the run that was found or made for a trial; returns the one that stands for it.

A store's search and its making of a run are two steps, so two writers may each make one. What settles it is whoever
keeps the trial, in one step: all get the same run back, and the others are taken away.
"""


KeepAll = Callable[[Mapping[int, str]], Mapping[int, str]]
"""Like `Keep`, for several trials that have no run yet: run ids by trial number."""


def as_offered(run_id: str) -> str:
    """A `Keep` for a single writer: its run is the one."""
    return run_id


@dataclass(frozen=True)
class ModelVersion:
    """A registered model's version.

    Attributes:
        name: the registered model's name.
        version: its version, as the registry numbers it.
        run_id: the run that it is from.
    """

    name: str
    version: str
    run_id: str


class Tracker(Protocol):
    """Writes the projection of a study. Every call is idempotent and raises only TrackingUnavailableError."""

    @property
    def calls(self) -> int:
        """Requests made to the store so far; for the budget that the tests hold it to."""

    def start_sweep(self, sweep: SweepRecord, keep: Keep = as_offered) -> str:
        """Make the sweep's parent run, or find it; return its id. Makes an embedded store that does not exist yet.

        The run is offered to `keep`, and deleted where another one is kept.
        """

    def add_trials(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], keep: KeepAll
    ) -> Mapping[int, Sent]:
        """Make the runs of trials that have none, all in one transaction, where the store can; return what they hold.

        The runs are offered to `keep`, and deleted where another run is kept. Send the trials that are missing from the
        answer with `sync_trial`.
        """

    def sync_trial(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent, keep: Keep = as_offered
    ) -> Sent:
        """Bring the trial's run up to the record; return what it holds afterwards.

        `sent` as returned by the last call for this trial, or `Sent()`. With `Sent()` the run is found first: the one
        that the record names, else by its tags, unless the trial has visibly just begun (running, first attempt, no
        folds, no `run_id`). A run that is new to this tracker is offered to `keep` before anything is written to it,
        and deleted where another is kept; what `keep` raises is passed on.
        At most one request per new fold and six per trial beside them; a refit's holdout, which comes later, one more.
        """

    def log_bundle(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, bundle: Path, keep: Keep = as_offered
    ) -> ModelVersion:
        """Store a refitted model's bundle with its run and register it. A second call with the same run and the same
        model digest returns the version of the first. `keep` as for `sync_trial`."""

    def finish_sweep(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], report: Path | None
    ) -> None:
        """Put the summary (best value, counts by state, best trial) and the report on the parent run, and end it."""

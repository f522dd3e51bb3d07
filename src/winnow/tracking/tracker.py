"""What the rest of winnow needs of a tracking store.

`mlflow_tracker.MlflowTracker` and `winnow.testing.tracker.MemoryTracker` pass `tests/contracts/test_trackers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from winnow.routing import Versioned
from winnow.tracking.records import SweepRecord, TrialRecord, TrialState


class TrackingUnavailableError(Exception):
    """The store does not answer, or cannot carry out the request now; a later attempt may succeed."""


class NoStoreError(TrackingUnavailableError):
    """The store is a file that does not exist: nothing was ever tracked."""


@dataclass(frozen=True)
class Sent:
    """What a run already holds.

    Attributes:
        run_id: None if no run was made yet.
        folds: numbers of the folds whose metrics were sent.
        is_final: whether the run has ended with the trial's last state.
        holdout: whether the holdout metrics were sent.
        state: the trial's state as the run shows it; None before its parameters were sent.
    """

    run_id: str | None = None
    folds: frozenset[int] = frozenset()
    is_final: bool = False
    holdout: bool = False
    state: TrialState | None = None


Keep = Callable[[str], str]
"""Offers a trial's run, found or made; returns the run that the study keeps for the trial.

Finding and making a run are two steps, so two processes may each make one. The study keeps one of them in a single
step; the other is deleted. A process that ends between these steps, or never gets the store's answer, leaves its run to
`finish_sweep`.
"""


KeepAll = Callable[[Mapping[int, str]], Mapping[int, str]]
"""Like `Keep`, for several trials that have no run yet: run ids by trial number."""


def as_offered(run_id: str) -> str:
    """A `Keep` for a single process: keep every offered run."""
    return run_id


@dataclass(frozen=True)
class ModelVersion(Versioned):
    """A version of a registered model, and the run that it is from.

    Attributes:
        version: its number in the registry.
        semantic: its semantic version (`winnow.bundle.semantic`); empty where it is not known.
        lineage: where its data come from: its tags that begin with `winnow.data.`.
    """

    name: str
    version: str
    run_id: str
    semantic: str = field(default="", compare=False)
    lineage: Mapping[str, str] = field(default_factory=dict, compare=False)


class Tracker(Protocol):
    """Writes a study to the store. Every call is idempotent and raises only TrackingUnavailableError."""

    @property
    def calls(self) -> int:
        """Requests made to the store so far."""

    def start_sweep(self, sweep: SweepRecord, keep: Keep = as_offered, run_id: str | None = None) -> str:
        """Find or make the sweep's parent run, and an SQLite store that does not exist; return the run's id.

        The run is offered to `keep`, and deleted if another one is kept. `run_id`: the run that the study keeps, if
        any. Another one is found by its tags, or made, only if this one was deleted.
        """

    def add_trials(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], keep: KeepAll
    ) -> Mapping[int, Sent]:
        """Make the runs of trials that have none, in one transaction, if the store can; return what they hold.

        The runs are offered to `keep`, and deleted if another run is kept. Send the trials that are missing from the
        answer with `sync_trial`.
        """

    def sync_trial(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent, keep: Keep = as_offered
    ) -> Sent:
        """Send what the trial's run lacks; return what it holds afterwards.

        Args:
            sent: the result of the last call for this trial, or `Sent()`. With `Sent()`, the run is looked up by the
                record's `run_id`, else by its tags, unless the trial has just begun.
            keep: gets a run that is new to this tracker before anything is written to it. The run is deleted if
                another one is kept. Errors of `keep` are passed on.

        At most one request per new fold, six per trial, and one for a refit's holdout.
        """

    def log_bundle(
        self,
        sweep: SweepRecord,
        parent_run_id: str,
        trial: TrialRecord,
        bundle: Path,
        keep: Keep = as_offered,
        artifacts: Sequence[Path] = (),
    ) -> ModelVersion:
        """Store a refitted model's bundle and other files with its run, and register it. `keep` as for `sync_trial`.

        A second call with the same run and model digest returns the version of the first.
        """

    def finish_sweep(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], report: Path | None
    ) -> None:
        """Add the summary (best value, counts by state, best trial) and the report to the parent run, and end it.

        Runs that were made for the sweep or its trials but are not the kept ones are deleted.
        """

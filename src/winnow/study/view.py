"""One study at one moment, with everything that its report shows.

The study store reads it, the report draws it. Times are milliseconds since the epoch; fold numbers are
0-based here and 1-based wherever a person reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.tracking.records import SweepRecord, TrialRecord


@dataclass(frozen=True)
class Incident:
    """An attempt at a trial that was lost: its worker died or stopped renewing its lease.

    Attributes:
        attempt: which claim of the trial it was, 1-based.
        what: what happened, for a person ("killed by signal 9", "lease expired").
        at_ms: when the loss was noticed.
        started_at_ms: when the lost attempt began its last fold, where known.
        fold: the fold it died in, 0-based, where known.
    """

    trial: int
    attempt: int
    worker: str
    what: str
    at_ms: int
    started_at_ms: int | None = None
    fold: int | None = None


@dataclass(frozen=True)
class Champion:
    """The registered model that a deployment of this study serves.

    Attributes:
        trial: the trial it was refitted from, where known.
        since_ms: when it became champion, where known.
    """

    name: str
    version: str
    alias: str = "champion"
    trial: int | None = None
    since_ms: int | None = None


@dataclass(frozen=True)
class StudyView:
    """A study as it stands.

    Attributes:
        trials: every trial, by number.
        space: the search space as in the experiment file: name → {"float" | "int": [low, high], "log", "step"} or
            {"choice": [...]}.
        winner: number of the complete trial with the best mean, None before there is one.
        target: how many trials make the study done, where known.
        incidents: attempts that were lost, whether retried or given up.
        generated_at_ms: when the study was read.
    """

    sweep: SweepRecord
    trials: tuple[TrialRecord, ...]
    space: Mapping[str, Any]
    winner: int | None
    generated_at_ms: int
    incidents: tuple[Incident, ...] = ()
    champion: Champion | None = None
    target: int | None = None

"""One study at one moment, with everything that its report shows.

Times are milliseconds since the epoch. Fold numbers are 0-based here and 1-based wherever users see them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.routing import Versioned
from winnow.tracking.records import SweepRecord, TrialRecord


@dataclass(frozen=True)
class Incident:
    """A lost attempt at a trial: its worker died or did not renew its lease.

    Attributes:
        attempt: which claim of the trial it was, 1-based.
        what: "killed by signal 9", "lease expired", ….
        at_ms: when the loss was noticed.
        started_at_ms: when the attempt began its last fold.
        fold: the lost fold.
    """

    trial: int
    attempt: int
    worker: str
    what: str
    at_ms: int
    started_at_ms: int | None = None
    fold: int | None = None


@dataclass(frozen=True)
class Champion(Versioned):
    """The registered model that a deployment serves, the trial that it is from, and since when it is champion."""

    name: str
    version: str
    alias: str = "champion"
    trial: int | None = None
    since_ms: int | None = None
    semantic: str = ""


@dataclass(frozen=True)
class StudyView:
    """A study at one moment.

    Attributes:
        trials: all trials, in order.
        space: the search space as in the experiment file: name → {"float" | "int": [low, high], "log", "step"} or
            {"choice": [...]}.
        winner: number of the complete trial with the best mean.
        generated_at_ms: when the study was read.
        incidents: lost attempts, whether retried or given up.
        target: how many trials the study is to have.
        ended_by: what has ended the study if not its number of trials, in words.
    """

    sweep: SweepRecord
    trials: tuple[TrialRecord, ...]
    space: Mapping[str, Any]
    winner: int | None
    generated_at_ms: int
    incidents: tuple[Incident, ...] = ()
    champion: Champion | None = None
    target: int | None = None
    ended_by: str | None = None

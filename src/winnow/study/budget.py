"""What ends a study: its number of trials, the points of its grid, or a budget of time or failures.

Once a budget is spent, the study's target becomes the number of trials that have begun. These are finished, and the
study ends as one of so many trials. A resume with a larger budget raises the target again.

Time counts from the first claim on. When a sweep starts while no worker is alive, the time since the last event of the
study is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from winnow.config.experiment import BudgetConfig
from winnow.config.search import Ending
from winnow.study import optuna_tables
from winnow.study.tables import folds, studies, tasks, workers

ENDS_BY = "winnow:ends_by"
"""Attribute of Optuna's study: the `Ending` that it has, or will have if no budget is spent before."""

_WORK = "winnow:work"
"""Attribute of Optuna's study: seconds `before` the present stretch of work, and `since` when that lasts, or None."""


def spent(budget: BudgetConfig, worked_s: float, failed: int) -> Literal["time", "failures"] | None:
    """Which part of a budget is spent, if any."""
    if budget.failures is not None and failed >= budget.failures:
        return "failures"
    if budget.time_s is not None and worked_s >= budget.time_s:
        return "time"
    return None


def worked_s(connection: Connection, study_id: int, now: float) -> float:
    """Seconds of work until now, which counts as working. The first call begins a stretch of work."""
    work = optuna_tables.attribute(connection, study_id, _WORK) or {"before": 0.0, "since": None}
    if work["since"] is None:
        work["since"] = now
        optuna_tables.set_attribute(connection, study_id, _WORK, work)
    return float(work["before"] + max(0.0, now - work["since"]))


def rested_s(connection: Connection, study_id: int, now: float) -> float:
    """Seconds of work so far, when a sweep starts; ends a stretch of work whose workers are gone."""
    work = optuna_tables.attribute(connection, study_id, _WORK)
    heard = sa.select(workers.c.owner).where(workers.c.study_id == study_id, workers.c.expires_at >= now)
    if work is not None and work["since"] is not None and connection.execute(heard).first() is not None:
        return float(work["before"] + max(0.0, now - work["since"]))
    first, last = _first_and_last(connection, study_id)
    begun, before = (first, 0.0) if work is None else (work["since"], work["before"])
    total = float(before + (max(0.0, last - begun) if begun is not None and last is not None else 0.0))
    optuna_tables.set_attribute(connection, study_id, _WORK, {"before": total, "since": None})
    return total


def end(connection: Connection, study_id: int, by: Ending, trials: int) -> None:
    """End a study with the trials that have begun."""
    connection.execute(sa.update(studies).where(studies.c.study_id == study_id).values(target=trials))
    optuna_tables.set_attribute(connection, study_id, ENDS_BY, by)


def ending(attributes: Mapping[str, Any]) -> Ending:
    """What ends a study, from its attributes; one of an older version ends with its trials."""
    by: Ending = attributes.get(ENDS_BY, "trials")
    return by if by in get_args(Ending) else "trials"


def _first_and_last(connection: Connection, study_id: int) -> tuple[float | None, float | None]:
    """When the study's first task was claimed and when its last event was, in seconds since the epoch."""
    of_tasks = sa.select(
        sa.func.min(tasks.c.started_at_ms), sa.func.max(tasks.c.started_at_ms), sa.func.max(tasks.c.ended_at_ms)
    ).where(tasks.c.study_id == study_id)
    first, *lasts = connection.execute(of_tasks).one()
    lasts.append(
        connection.execute(sa.select(sa.func.max(folds.c.ended_at_ms)).where(folds.c.study_id == study_id)).scalar()
    )
    known = [at_ms for at_ms in lasts if at_ms is not None]
    return None if first is None else first / 1000, max(known) / 1000 if known else None

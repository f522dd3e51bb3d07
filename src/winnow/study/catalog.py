"""All studies of a database: lists them with a few counting queries, and deletes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from winnow.config.search import Ending
from winnow.study import optuna_tables
from winnow.study.budget import ending
from winnow.study.database import Database
from winnow.study.status_query import REFUSED, STOPPED
from winnow.study.tables import curves, folds, incidents, out_of_fold, studies, tasks, workers

StudyState = Literal["in work", "done", "stopped", "refused", "unfinished"]


@dataclass(frozen=True)
class StudySummary:
    """A study in a few numbers.

    Attributes:
        state: "refused": a worker could not train it; "stopped": a user cancelled it; "unfinished": no worker is alive,
            for an unknown reason.
        trials: number of trials, by state.
        target: how many trials the study is to have.
        metric: the objective; None if the record of an older study lacks it.
        best, best_trial: the best value and its trial; None before the first complete trial.
        created_at_ms, changed_at_ms: milliseconds since the epoch; None if unknown.
        heard: worker groups that are alive, sorted.
        ended_by: what has ended the study ("trials", "grid", "time" or "failures"); None while it is not done.
    """

    name: str
    state: StudyState
    trials: Mapping[str, int]
    target: int
    metric: str | None
    best: float | None
    best_trial: int | None
    created_at_ms: int | None
    changed_at_ms: int | None
    heard: tuple[str, ...]
    ended_by: Ending | None = None


class StudyBusyError(Exception):
    """Workers train the study; `args[0]` names them."""


def summaries(database: Database) -> tuple[StudySummary, ...]:
    """All studies, read at one moment, oldest first."""
    if not sa.inspect(database.engine).has_table(studies.name):
        return ()
    with database.reading() as connection:
        names = optuna_tables.study_names(connection)
        rows = connection.execute(sa.select(studies).order_by(studies.c.study_id)).all()
        counts = optuna_tables.counts_by_state(connection)
        now = database.now(connection)
        known = [row for row in rows if row.study_id in names]
        return tuple(_summary(connection, names[row.study_id], row, counts.get(row.study_id, {}), now) for row in known)


def delete_study(database: Database, study_id: int) -> None:
    """Remove a study with its trials, in one transaction. Raises StudyBusyError if workers train it."""
    with database.writing() as connection:
        optuna_tables.lock_study(connection, study_id)
        # Claims wait for this row, so none can come between the check and the deletion.
        connection.execute(sa.select(studies.c.study_id).where(studies.c.study_id == study_id).with_for_update()).one()
        busy = _busy(connection, study_id, database.now(connection))
        if busy:
            raise StudyBusyError(busy)
        later = [*([curves] if database.has_curves else []), *([out_of_fold] if database.has_out_of_fold else [])]
        for table in (tasks, folds, workers, incidents, studies, *later):
            connection.execute(sa.delete(table).where(table.c.study_id == study_id))
        optuna_tables.delete_study(connection, study_id)


def busy_workers(database: Database, study_id: int) -> tuple[str, ...]:
    """Worker groups that are alive or hold a lease of a study, sorted."""
    with database.reading() as connection:
        return _busy(connection, study_id, database.now(connection))


def _busy(connection: Connection, study_id: int, now: float) -> tuple[str, ...]:
    leased = sa.select(tasks.c.grp).where(
        tasks.c.study_id == study_id, tasks.c.state == "leased", tasks.c.expires_at >= now
    )
    held = {str(group) for group in connection.execute(leased).scalars()}
    return tuple(sorted(held | set(_heard(connection, study_id, now))))


def _heard(connection: Connection, study_id: int, now: float) -> tuple[str, ...]:
    query = sa.select(workers.c.grp).where(workers.c.study_id == study_id, workers.c.expires_at >= now)
    return tuple(sorted({str(group) for group in connection.execute(query).scalars()}))


def _summary(
    connection: Connection, name: str, row: sa.Row[Any], counts: Mapping[TrialState, int], now: float
) -> StudySummary:
    sweep = json.loads(row.sweep)
    best = optuna_tables.best_trial(connection, row.study_id, sweep.get("goal", "maximize"))
    heard = _heard(connection, row.study_id, now)
    state: StudyState = "in work" if heard else _resting_state(connection, row)
    is_done = state == "done"
    # When a task of a study last began or ended, or a fold ended.
    columns = (tasks.c.started_at_ms, tasks.c.ended_at_ms, folds.c.ended_at_ms)
    latest = (
        connection.execute(sa.select(sa.func.max(column)).where(column.table.c.study_id == row.study_id)).scalar()
        for column in columns
    )
    return StudySummary(
        name=name,
        state=state,
        trials={name: counts.get(state, 0) for state, name in optuna_tables.STATES.items()},
        target=int(row.target),
        metric=sweep.get("metric"),
        best=None if best is None else best[1],
        best_trial=None if best is None else best[0],
        created_at_ms=sweep.get("started_at_ms"),
        changed_at_ms=max((int(at_ms) for at_ms in latest if at_ms is not None), default=None)
        or sweep.get("started_at_ms"),
        heard=heard,
        ended_by=ending(optuna_tables.attributes(connection, row.study_id)) if is_done else None,
    )


def _resting_state(connection: Connection, row: sa.Row[Any]) -> StudyState:
    report = (tasks.c.study_id == row.study_id) & (tasks.c.kind == "report") & (tasks.c.number == row.target)
    if connection.execute(sa.select(tasks.c.state).where(report)).scalar() in ("done", "failed"):
        return "done"
    attributes = optuna_tables.attributes(connection, row.study_id)
    if attributes.get(REFUSED):
        return "refused"
    return "stopped" if attributes.get(STOPPED) else "unfinished"

"""Reads a sweep's progress with one statement.

The statement is a union of small parts, one for each kind of fact:

    part        key           integer                 real         text
    study                     target                  clock
    state       trial state   trials in it            their folds
    other_code                trials of other code
    best                      number of the trial     its value
    first_fold                its start, ms
    report                                                                  if it was written
    attribute   name                                               value as JSON
    worker      group                                 expiry       status as JSON
    lease       group                                              owner

The database's clock decides which workers are alive.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from winnow.config.errors import InputError
from winnow.study import optuna_tables
from winnow.study.database import Database
from winnow.study.header import StudyHeader
from winnow.study.status import StudyStatus, WorkerStatus
from winnow.study.tables import TRIAL_CODE, folds, studies, tasks, workers

STOPPED, REFUSED = "winnow:stopped", "winnow:refused"
"""Attributes of Optuna's study: a user stopped its groups; a worker could not train it."""


def read_status(
    connection: Connection,
    database: Database,
    header: StudyHeader,
    *,
    started_at_ms: int,
    now_ms: int,
    folds_before: int,
) -> StudyStatus | None:
    """The sweep's progress; None if the study was deleted.

    Args:
        started_at_ms: later folds count for the pace.
        folds_before: how many folds were finished earlier.
    """
    parts: dict[str, list[sa.Row[Any]]] = defaultdict(list)
    for row in connection.execute(_query(database, header, started_at_ms)):
        parts[row.part].append(row)
    if not parts["study"]:
        return None
    (study,) = parts["study"]
    trials = {TrialState[row.key]: row.integer for row in parts["state"]}
    folds_in = {TrialState[row.key]: int(row.real) for row in parts["state"]}
    ended = sum(count for state, count in trials.items() if state.is_finished())
    ended_folds = sum(count for state, count in folds_in.items() if state.is_finished())
    best = parts["best"][0] if parts["best"] else None
    first_fold_ms = parts["first_fold"][0].integer
    attributes = {row.key: json.loads(row.text) for row in parts["attribute"]}
    refused = attributes.get(REFUSED)
    return StudyStatus(
        study=header.name,
        trials_done=ended,
        trials_total=max(study.integer, sum(trials.values())),
        failed=trials.get(TrialState.FAIL, 0),
        pruned=trials.get(TrialState.PRUNED, 0),
        of_other_code=parts["other_code"][0].integer,
        best=None if best is None else best.real,
        best_trial=None if best is None else best.integer,
        goal=header.sweep.goal,
        workers=_heard(parts["worker"], study.real),
        started_at_ms=started_at_ms,
        now_ms=now_ms,
        training_since_ms=None if first_fold_ms is None else max(first_fold_ms, started_at_ms),
        folds_done=sum(folds_in.values()) - folds_before,
        folds_total=ended_folds + (study.integer - ended) * header.sweep.folds - folds_before,
        is_done=bool(parts["report"]),
        is_stopped=bool(attributes.get(STOPPED)),
        refusal=InputError(**refused) if refused else None,
        owners=_owners(parts["lease"]),
    )


def _query(database: Database, header: StudyHeader, started_at_ms: int) -> sa.CompoundSelect[*tuple[Any, ...]]:
    study_id = header.study_id
    trials = optuna_tables.trial_rows(study_id, TRIAL_CODE)
    attributes = optuna_tables.attribute_rows(study_id, (STOPPED, REFUSED))
    best, scored = _best(trials, header.sweep.goal), _scored_folds(study_id)
    target = sa.select(studies.c.target).where(studies.c.study_id == study_id).scalar_subquery()
    count, total = sa.func.count(), sa.func.sum(sa.func.coalesce(scored.c.folds, 0))
    is_other = trials.c.attribute_json.not_in([json.dumps(""), json.dumps(header.code)])
    is_report = (tasks.c.study_id == study_id) & (tasks.c.kind == "report") & (tasks.c.number == target)
    is_leased = (tasks.c.study_id == study_id) & (tasks.c.state == "leased")
    return sa.union_all(
        _part("study", integer=studies.c.target, real=database.clock).where(studies.c.study_id == study_id),
        _part("state", key=trials.c.state, integer=count, real=total)
        .select_from(trials.outerjoin(scored, scored.c.trial_id == trials.c.trial_id))
        .group_by(trials.c.state),
        _part("other_code", integer=count).select_from(trials).where(is_other),
        _part("best", integer=best.c.number, real=best.c.value),
        _part("first_fold", integer=sa.func.min(folds.c.started_at_ms)).where(
            folds.c.study_id == study_id, folds.c.ended_at_ms >= started_at_ms
        ),
        _part("report").where(is_report, tasks.c.ended_at_ms.is_not(None)),
        _part("attribute", key=attributes.c.key, text=attributes.c.value_json),
        _part("worker", key=workers.c.grp, real=workers.c.expires_at, text=workers.c.status).where(
            workers.c.study_id == study_id
        ),
        _part("lease", key=tasks.c.grp, text=tasks.c.owner).where(is_leased),
    )


def _part(
    part: str,
    *,
    key: sa.ColumnElement[Any] | None = None,
    integer: sa.ColumnElement[Any] | None = None,
    real: sa.ColumnElement[Any] | None = None,
    text: sa.ColumnElement[Any] | None = None,
) -> sa.Select[*tuple[Any, ...]]:
    """Rows of one part. Postgres requires the same column types in all parts of a union."""
    columns = {
        "key": (key, sa.String),
        "integer": (integer, sa.BigInteger),
        "real": (real, sa.Double),
        "text": (text, sa.Text),
    }
    return sa.select(
        sa.literal(part, sa.String).label("part"),
        *(
            sa.cast(sa.null() if column is None else column, kind).label(name)
            for name, (column, kind) in columns.items()
        ),
    )


def _best(trials: sa.Subquery, goal: str) -> sa.Subquery:
    """The best complete trial, of equal ones the earlier."""
    better = trials.c.value.asc() if goal == "minimize" else trials.c.value.desc()
    complete = sa.select(trials).where(trials.c.state == TrialState.COMPLETE.name, trials.c.value.is_not(None))
    return complete.order_by(better, trials.c.number).limit(1).subquery()


def _scored_folds(study_id: int) -> sa.Subquery:
    """The number of scored folds of each trial."""
    scored = sa.select(folds.c.trial_id, sa.func.count().label("folds")).where(folds.c.study_id == study_id)
    return scored.group_by(folds.c.trial_id).subquery()


def _heard(rows: Iterable[sa.Row[Any]], now: float) -> tuple[WorkerStatus, ...]:
    """The status of the latest life of every group that is alive, by group."""
    latest = {row.key: row for row in sorted(rows, key=lambda row: row.real)}
    heard = [latest[group] for group in sorted(latest) if latest[group].real >= now]
    return tuple(WorkerStatus(**json.loads(row.text)) for row in heard)


def _owners(rows: Iterable[sa.Row[Any]]) -> Mapping[str, frozenset[str]]:
    owners: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        owners[row.key].add(row.text)
    return {group: frozenset(lives) for group, lives in owners.items()}

"""Reads a study into a `ScheduleView`, inside the transaction of a claim."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy import orm

from winnow.study import optuna_tables
from winnow.study.schedule import ClosingTask, ScheduledTrial, ScheduleRules, ScheduleView
from winnow.study.tables import TRIAL_CODE, folds, tasks

_MAX_LISTED = 1000
"""How many trials a statement names at most; where more can change, it reads all of them."""


class ScheduleReader:
    """Reads one study as often as its worker claims; trials that are complete or pruned never change, and are kept."""

    def __init__(self, study_id: int, rules: ScheduleRules) -> None:
        self._study_id = study_id
        self._rules = rules
        self._kept: dict[int, ScheduledTrial] = {}

    def read(self, session: orm.Session, owner: str, target: int, code: str) -> ScheduleView:
        """The study as `owner` sees it. `code` is the digest of the study's present code."""
        # Tasks first: a trial that another worker ends meanwhile is still held by it in this view, so that the study
        # does not seem to be over before the trial's value is read.
        query = sa.select(tasks.c.kind, tasks.c.number, tasks.c.state, tasks.c.owner).order_by(tasks.c.number)
        is_read = (tasks.c.kind != "trial") | (tasks.c.state == "leased")
        rows = session.execute(query.where(tasks.c.study_id == self._study_id, is_read)).all()
        owners = {row.number: row.owner for row in rows if row.kind == "trial"}
        return ScheduleView(
            self._rules,
            owner,
            target,
            self._read_trials(session, owners, code),
            refits=tuple(ClosingTask(row.number, row.state, row.owner) for row in rows if row.kind == "refit"),
            reports=tuple(ClosingTask(row.number, row.state, row.owner) for row in rows if row.kind == "report"),
        )

    def _read_trials(self, session: orm.Session, owners: Mapping[int, str], code: str) -> tuple[ScheduledTrial, ...]:
        changing = self._read_changing(session)
        scores = self._read_scores(session, [row.trial_id for row in changing if self._needs_scores(row, code)])
        read = {row.number: _trial(row, scores.get(row.trial_id, {}), owners.get(row.number)) for row in changing}
        trials = self._kept | read
        self._kept |= {
            number: trial
            for number, trial in read.items()
            if trial.state in ("complete", "pruned") and trial.owner is None
        }
        return tuple(trials[number] for number in sorted(trials))

    def _read_changing(self, session: orm.Session) -> list[sa.Row[Any]]:
        """The rows of trials that are not kept."""
        trials = optuna_tables.trial_rows(self._study_id, TRIAL_CODE)
        query = sa.select(trials)
        known = max(self._kept, default=-1)
        open_numbers = [number for number in range(known) if number not in self._kept]
        if len(open_numbers) <= _MAX_LISTED:
            query = query.where((trials.c.number > known) | trials.c.number.in_(open_numbers))
        return list(session.execute(query).all())

    def _needs_scores(self, row: sa.Row[Any], code: str) -> bool:
        """Whether the trial can be trained, or others are compared with it. A claim drops what other code scored."""
        if row.state == "WAITING":
            return row.attribute_json is None or json.loads(row.attribute_json) == code
        return row.state == "RUNNING" or (row.state in ("COMPLETE", "PRUNED") and self._rules.pruner != "off")

    def _read_scores(self, session: orm.Session, trial_ids: Collection[int]) -> Mapping[int, dict[int, float]]:
        """The score of every recorded fold, by trial and fold."""
        scores: dict[int, dict[int, float]] = defaultdict(dict)
        if not trial_ids:
            return scores
        is_read = folds.c.trial_id.in_(trial_ids) if len(trial_ids) <= _MAX_LISTED else sa.true()
        query = sa.select(folds.c.trial_id, folds.c.fold, folds.c.metrics).order_by(folds.c.fold)
        for trial_id, fold, metrics in session.execute(query.where(folds.c.study_id == self._study_id, is_read)):
            scores[trial_id][fold] = json.loads(metrics)[self._rules.metric]
        return {trial_id: scores[trial_id] for trial_id in trial_ids}


def _trial(row: sa.Row[Any], scores: Mapping[int, float], owner: str | None) -> ScheduledTrial:
    return ScheduledTrial(
        row.number, optuna_tables.STATES[TrialState[row.state]], tuple(scores), tuple(scores.values()), row.value, owner
    )

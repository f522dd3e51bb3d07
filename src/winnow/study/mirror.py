"""A study in memory, for claims and samplers.

Each worker has a mirror and reads the study into it at the start of a claim, under the study's lock. Complete and
pruned trials never change, so only the others are read again. Proposals read no database.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
import sqlalchemy as sa
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import Connection

from winnow.config.user_code import digest_of_code
from winnow.study import optuna_tables
from winnow.study.database import Database
from winnow.study.optuna_tables import StoredParams
from winnow.study.schedule import ClosingTask, ScheduledTrial, ScheduleRules, ScheduleView
from winnow.study.tables import TRIAL_CODE, folds, studies, tasks
from winnow.tracking import records

_NAME = "mirrored"
# By default a study creates its own, which costs more than the study itself.
_UNUSED_SAMPLER, _UNUSED_PRUNER = RandomSampler(), NopPruner()
_MAX_LISTED = 1000
"""A statement lists at most so many trials; if more can change, it reads all."""


@dataclass(frozen=True)
class MirroredTrial:
    """One trial.

    Attributes:
        scores: the objective by recorded fold. Empty for a waiting trial that other code has trained, because its next
            claim removes them.
        code: digest of the user's code that trained its folds; None if unknown.
        owner: the worker that holds its lease.
        attempt: how often it was claimed.
        task: its row of the lease table; None if it was never claimed.
    """

    trial_id: int
    number: int
    state: records.TrialState
    value: float | None = None
    scores: Mapping[int, float] = field(default_factory=dict)
    params: StoredParams = field(default_factory=lambda: ({}, {}))
    code: str | None = None
    owner: str | None = None
    attempt: int = 0
    task: sa.Row[Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def scheduled(self) -> ScheduledTrial:
        """The trial as the schedule sees it."""
        scores = dict(sorted(self.scores.items()))
        return ScheduledTrial(self.number, self.state, tuple(scores), tuple(scores.values()), self.value, self.owner)

    @functools.cached_property
    def frozen(self) -> FrozenTrial:
        """The trial as Optuna's samplers see it. A pruned trial with an estimated value counts as complete."""
        params, distributions = self.params
        is_estimated = self.state == "pruned" and self.value is not None
        return FrozenTrial(
            number=self.number,
            state=TrialState.COMPLETE if is_estimated else optuna_tables.OPTUNA_STATES[self.state],
            value=self.value,
            datetime_start=None,
            datetime_complete=None,
            params=params,
            distributions=distributions,
            user_attrs={},
            system_attrs=self.notes,
            intermediate_values=dict(self.scores),
            trial_id=self.trial_id,
        )


@dataclass
class StudyState:
    """A study at one moment. A claim updates `trials` with its changes.

    Attributes:
        now: the database's clock, in seconds since the epoch.
        closing: rows of the lease table for refits and reports.
    """

    target: int
    code: str
    now: float
    trials: list[MirroredTrial]
    closing: Sequence[sa.Row[Any]]

    def view(self, rules: ScheduleRules, owner: str) -> ScheduleView:
        """The study as the schedule sees it for `owner`."""
        return ScheduleView(
            rules,
            owner,
            self.target,
            tuple(trial.scheduled for trial in self.trials),
            refits=self._closing_tasks("refit"),
            reports=self._closing_tasks("report"),
        )

    def _closing_tasks(self, kind: Literal["refit", "report"]) -> tuple[ClosingTask, ...]:
        return tuple(
            ClosingTask(row.number, row.state, row.owner, row.attempt, json.loads(row.result or "{}").get("refits", 0))
            for row in self.closing
            if row.kind == kind
        )


class Mirror:
    """Reads one study. `keeps_notes`: the sampler's notes are read, too."""

    def __init__(self, database: Database, study_id: int, rules: ScheduleRules, *, keeps_notes: bool = False) -> None:
        self._study_id = study_id
        self._metric = rules.metric
        self._keeps_notes = keeps_notes
        # It locks the study's row, for which all claims wait.
        query = sa.select(studies.c.target, studies.c.sweep, database.clock)
        self._select_study = query.where(studies.c.study_id == study_id).with_for_update()
        self._select_trials = _select_trials(study_id)
        self._select_scores = _select_scores(study_id)
        self._select_closing = _select_closing(study_id)
        self._ended: dict[int, MirroredTrial] = {}
        self._params: dict[int, StoredParams] = {}
        self._open: tuple[int, ...] = ()
        self._newest = 0
        self._sweep = self._code = ""
        self._state = StudyState(0, "", 0.0, [], ())
        self._sampled = optuna_tables.SampledStorage(
            lambda: (trial.frozen for trial in self._state.trials), keeps_notes=keeps_notes
        )
        optuna.create_study(storage=self._sampled, study_name=_NAME, direction=rules.goal)

    def sampled(self) -> optuna.Study:
        """The study as samplers see it, with the changes of this claim. Use it for one proposal, because it caches."""
        return optuna.Study(_NAME, self._sampled, sampler=_UNUSED_SAMPLER, pruner=_UNUSED_PRUNER)

    def store_notes(self, connection: Connection) -> None:
        """Store what the sampler has noted in this claim."""
        if self._sampled.written:
            optuna_tables.set_notes(connection, self._study_id, self._sampled.written)
            self._sampled.written.clear()

    def read(self, connection: Connection) -> StudyState:
        """Read the study, and lock it until the transaction ends."""
        target, sweep, now = connection.execute(self._select_study).one()
        if sweep != self._sweep:
            self._sweep, self._code = sweep, digest_of_code(json.loads(sweep).get("code") or {})
        changing = self._read_changing(connection, self._code)
        if self._keeps_notes:
            self._sampled.written.clear()  # of a claim that failed
            self._sampled.load_study_notes(optuna_tables.attributes(connection, self._study_id))
        # These are committed and never change.
        self._ended |= {trial.number: trial for trial in changing if trial.state in ("complete", "pruned")}
        self._open = tuple(trial.trial_id for trial in changing if trial.number not in self._ended)
        self._newest = max((trial.trial_id for trial in changing), default=self._newest)
        trials = self._ended | {trial.number: trial for trial in changing}
        closing = connection.execute(self._select_closing).all()
        self._state = StudyState(target, self._code, now, [trials[number] for number in sorted(trials)], closing)
        return self._state

    def _read_changing(self, connection: Connection, code: str) -> list[MirroredTrial]:
        """Trials that are new, or had not ended at the last read."""
        since = self._newest if len(self._open) <= _MAX_LISTED else 0
        which = {"newest": since, "open": self._open if since else ()}
        rows = connection.execute(self._select_trials, which).all()
        if not rows:
            return []
        scores: dict[int, dict[int, float]] = defaultdict(dict)
        for trial_id, fold, metrics in connection.execute(self._select_scores, which):
            scores[trial_id][fold] = json.loads(metrics)[self._metric]
        unknown = [row.trial_id for row in rows if row.trial_id not in self._params]
        self._params |= optuna_tables.read_params(connection, unknown) if unknown else {}
        notes = optuna_tables.read_notes(connection, [row.trial_id for row in rows]) if self._keeps_notes else {}
        return [self._mirrored(row, scores[row.trial_id], code, notes.get(row.trial_id, {})) for row in rows]

    def _mirrored(
        self, row: sa.Row[Any], scores: Mapping[int, float], code: str, notes: dict[str, Any]
    ) -> MirroredTrial:
        own_code = None if row.attribute_json is None else json.loads(row.attribute_json)
        state = optuna_tables.STATES[TrialState[row.state]]
        is_dropped = state == "waiting" and own_code not in (None, code)
        return MirroredTrial(
            trial_id=row.trial_id,
            number=row.number,
            state=state,
            value=row.value,
            scores={} if is_dropped else scores,
            params=self._params.get(row.trial_id, ({}, {})),
            code=own_code,
            owner=row.owner if row.task_state == "leased" else None,
            attempt=row.attempt or 0,
            task=row if row.task_state is not None else None,
            notes=notes,
        )


def _select_trials(study_id: int) -> sa.Select[Any]:
    trials = optuna_tables.trial_rows(study_id, TRIAL_CODE)
    is_its_task = (tasks.c.study_id == study_id) & (tasks.c.kind == "trial") & (tasks.c.number == trials.c.number)
    query = sa.select(
        trials,
        tasks.c.state.label("task_state"),
        *(tasks.c.kind, tasks.c.study_id, tasks.c.attempt, tasks.c.lost, tasks.c.owner, tasks.c.grp),
        *(tasks.c.expires_at, tasks.c.started_at_ms),
    )
    return query.select_from(trials.outerjoin(tasks, is_its_task)).where(_is_changing(trials.c.trial_id))


def _select_scores(study_id: int) -> sa.Select[Any]:
    query = sa.select(folds.c.trial_id, folds.c.fold, folds.c.metrics)
    return query.where(folds.c.study_id == study_id, _is_changing(folds.c.trial_id))


def _select_closing(study_id: int) -> sa.Select[Any]:
    is_closing = (tasks.c.study_id == study_id) & tasks.c.kind.in_(["refit", "report"])
    return sa.select(tasks).where(is_closing).order_by(tasks.c.kind, tasks.c.number)


def _is_changing(trial_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return (trial_id > sa.bindparam("newest")) | trial_id.in_(sa.bindparam("open", expanding=True))

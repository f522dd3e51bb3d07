"""Who works on what: claims, leases, and what a lease allows to be written.

A task is one trial, the refit of one trial, or the closing report. A claim gives it to one owner until a time by the
database's clock; every write names the claim (its attempt) and is refused once the task has passed to another. Each
function here is one transaction, so that a study has exactly as many trials as it should whatever dies, and a trial
that lost its worker goes on under its own number at the fold it died in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState
from sqlalchemy import orm

from winnow.config.user_code import digest_of_code
from winnow.study import optuna_tables
from winnow.study.database import Database
from winnow.study.tables import folds, incidents, studies, tasks
from winnow.tracking.records import FoldRecord

Kind = Literal["trial", "refit", "report"]
End = Literal["complete", "pruned", "failed"]
_ENDS: Mapping[End, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

TRIAL_CODE = "winnow:code"
"""Attribute of a trial in Optuna's tables: digest of the person's code that its folds were trained with."""


class LeaseLostError(Exception):
    """The task has passed to another owner, or has ended: whatever was being done for it does not count."""


@dataclass(frozen=True)
class Lease:
    """The right to work on one task.

    Attributes:
        number: the trial's number; for the report, the number of trials that it covers.
        trial_id: Optuna's id of the trial, None for the report.
        attempt: which claim of the task this is, 1-based.
        owner: who holds it: one life of one worker group.
        group: the group's name, which outlives its owners.
    """

    study_id: int
    kind: Kind
    number: int
    trial_id: int | None
    attempt: int
    owner: str
    group: str


@dataclass(frozen=True)
class Nothing:
    """Nothing to claim: either the study is done, or others still hold what is left."""

    is_done: bool


@dataclass(frozen=True)
class Failure:
    """Where to read on about a failed trial: the end of the guilty rank's log, and the log itself on its machine."""

    tail: tuple[str, ...]
    log: str


@dataclass(frozen=True)
class LeaseRules:
    """What a claim needs to know beside the study.

    Attributes:
        ttl_s: how long a lease lasts without renewal.
        retries: how often a lost task is given another go.
        refit_top: how many of the best trials are refitted after the last trial.
        goal: which way the objective is better.
    """

    ttl_s: float
    retries: int
    refit_top: int
    goal: Literal["maximize", "minimize"]


class Leases:
    """The leases of one study.

    Args:
        database: where the study lives.
        study_id: Optuna's id of it.
        rules: durations and counts.
        clock_ms: time for records, milliseconds since the epoch (leases are measured by the database's clock).
    """

    def __init__(
        self,
        database: Database,
        study_id: int,
        rules: LeaseRules,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._database = database
        self._study_id = study_id
        self._rules = rules
        self._clock_ms = clock_ms

    def claim(self, owner: str, group: str) -> Lease | Nothing:
        """Take the next task: a waiting trial, a new one while the study wants more, then refits, then the report.

        Claiming again while holding a lease returns that lease, so that a claim whose answer was lost is not lost.
        """
        with self._database.writing() as session:
            target = self._lock_study(session)
            held = self._one(session, tasks.c.owner == owner, tasks.c.state == "leased")
            if held is not None:
                return self._lease(held)
            self._give_back_expired(session)
            return (
                self._claim_waiting_trial(session, owner, group)
                or self._claim_new_trial(session, owner, group, target)
                or self._claim_closing_task(session, owner, group, target)
            )

    def renew(self, lease: Lease) -> None:
        """Hold the lease for another `ttl_s`. Raises LeaseLostError."""
        with self._database.writing() as session:
            self._check(session, lease)
            self._extend(session, lease)

    def set_params(self, lease: Lease, params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> None:
        """Store the parameters that a new trial tries. Raises LeaseLostError."""
        with self._database.writing() as session:
            self._check(session, lease)
            optuna_tables.set_params(session, _trial_id(lease), params, space)

    def record_fold(self, lease: Lease, fold: FoldRecord, score: float) -> None:
        """Store a fold's result and renew the lease. Storing the same fold again replaces it. Raises LeaseLostError."""
        with self._database.writing() as session:
            self._check(session, lease)
            self._extend(session, lease)
            where = (folds.c.trial_id == lease.trial_id) & (folds.c.fold == fold.fold)
            session.execute(sa.delete(folds).where(where))
            session.execute(sa.insert(folds).values(_fold_row(self._study_id, lease, fold)))
            optuna_tables.set_intermediate_value(session, _trial_id(lease), fold.fold, score)

    def finish_trial(
        self, lease: Lease, end: End, value: float | None, reason: str | None = None, detail: Failure | None = None
    ) -> None:
        """End a trial. `value` is the objective's mean, None for a failed one. Raises LeaseLostError."""
        with self._database.writing() as session:
            self._check(session, lease)
            optuna_tables.end_trial(session, _trial_id(lease), _ENDS[end], value)
            state = "failed" if end == "failed" else "done"
            result = json.dumps(asdict(detail)) if detail else None
            self._end_task(session, lease.kind, lease.number, state, reason, result)

    def finish_task(self, lease: Lease, *, result: Mapping[str, Any] | None = None, reason: str | None = None) -> None:
        """End a refit or the report: with its result, or failed for a reason. Raises LeaseLostError."""
        with self._database.writing() as session:
            self._check(session, lease)
            state = "failed" if reason is not None else "done"
            self._end_task(session, lease.kind, lease.number, state, reason, json.dumps(result) if result else None)

    def request_refit(self, number: int) -> None:
        """Have a trial refitted that is not among the best, or once more where its refit failed."""
        with self._database.writing() as session:
            self._lock_study(session)
            known = self._one(session, tasks.c.kind == "refit", tasks.c.number == number)
            if known is None:
                trial_id = optuna_tables.trial_id_of(session, self._study_id, number)
                session.execute(sa.insert(tasks).values(_new_task(self._study_id, "refit", number, trial_id)))
            elif known.state in ("done", "failed"):
                self._update(session, "refit", number, state="waiting", lost=0, reason=None, result=None)

    def retry_failed(self) -> tuple[int, ...]:
        """Let failed trials be claimed again under their numbers, and failed refits too; return the trials' numbers.

        They keep their parameters, and the folds that the study's present code has scored.
        """
        with self._database.writing() as session:
            target = self._lock_study(session)
            failed = self._all(session, tasks.c.state == "failed", tasks.c.kind.in_(["trial", "refit"]))
            for task in failed:
                if task.kind == "trial":
                    optuna_tables.reopen_trial(session, task.trial_id)
                self._update(
                    session, task.kind, task.number, state="waiting", lost=0, reason=None, result=None, ended_at_ms=None
                )
            if failed:
                self._update(session, "report", target, state="waiting")
            return tuple(task.number for task in failed if task.kind == "trial")

    def give_back(self, lease: Lease, what: str, *, is_lost: bool) -> None:
        """Let others have the task; what was recorded stays. `is_lost` counts towards `retries`.

        A lease that is no longer held needs no giving back: nothing happens.
        """
        with self._database.writing() as session:
            # A claim that finds no waiting trial and then no leased one would take the study for done.
            self._lock_study(session)
            held = self._one(
                session,
                tasks.c.kind == lease.kind,
                tasks.c.number == lease.number,
                tasks.c.attempt == lease.attempt,
                tasks.c.state == "leased",
            )
            if held is not None:
                self._give_back(session, held, what, is_lost=is_lost)

    def owners(self, group: str) -> frozenset[str]:
        """Lives of `group` that hold something. Whoever finds the group dead afterwards knows that these are."""
        with self._database.reading() as session:
            where = (tasks.c.study_id == self._study_id) & (tasks.c.grp == group) & (tasks.c.state == "leased")
            return frozenset(session.execute(sa.select(tasks.c.owner).where(where)).scalars())

    def give_back_group(
        self,
        group: str,
        what: str,
        *,
        of: Collection[str] | None = None,
        keep: str | None = None,
        is_lost: bool = True,
    ) -> int:
        """Take back what dead owners of `group` held, and return how many tasks that were.

        All its owners but `keep`, or only those in `of`, where the group may have been started again meanwhile.
        """
        with self._database.writing() as session:
            self._lock_study(session)
            conditions = [tasks.c.grp == group, tasks.c.state == "leased"]
            if keep is not None:
                conditions.append(tasks.c.owner != keep)
            if of is not None:
                conditions.append(tasks.c.owner.in_(of))
            held = self._all(session, *conditions)
            for task in held:
                self._give_back(session, task, what, is_lost=is_lost)
            return len(held)

    # What follows runs inside a transaction of the functions above.

    def _lock_study(self, session: orm.Session) -> int:
        """Make claims of one study wait for each other (SQLite's transaction already does); return its target."""
        query = sa.select(studies.c.target).where(studies.c.study_id == self._study_id).with_for_update()
        return int(session.execute(query).scalar_one())

    def _all(self, session: orm.Session, *conditions: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        query = sa.select(tasks).where(tasks.c.study_id == self._study_id, *conditions)
        return session.execute(query.order_by(tasks.c.number).with_for_update()).all()

    def _one(self, session: orm.Session, *conditions: sa.ColumnElement[bool]) -> sa.Row[Any] | None:
        found = self._all(session, *conditions)
        return found[0] if found else None

    def _claim_waiting_trial(self, session: orm.Session, owner: str, group: str) -> Lease | None:
        waiting = optuna_tables.first_waiting_trial(session, self._study_id)
        if waiting is None:
            return None
        optuna_tables.start_trial(session, waiting.trial_id)
        return self._take(session, "trial", waiting.number, waiting.trial_id, owner, group)

    def _claim_new_trial(self, session: orm.Session, owner: str, group: str, target: int) -> Lease | None:
        count = optuna_tables.count_trials(session, self._study_id)
        if count >= target:
            return None
        trial = optuna_tables.add_running_trial(session, self._study_id, number=count)
        return self._take(session, "trial", trial.number, trial.trial_id, owner, group)

    def _claim_closing_task(self, session: orm.Session, owner: str, group: str, target: int) -> Lease | Nothing:
        """Refits once every trial has ended, the report once every refit has."""
        leased = self._all(session, tasks.c.state == "leased")
        if any(task.kind == "trial" for task in leased):
            return Nothing(is_done=False)
        refits = {task.number: task for task in self._all(session, tasks.c.kind == "refit")}
        rules = self._rules
        for trial, _value in optuna_tables.best_trials(session, self._study_id, rules.goal, rules.refit_top):
            if trial.number not in refits:
                return self._take(session, "refit", trial.number, trial.trial_id, owner, group)
        for refit in refits.values():
            if refit.state == "waiting":
                return self._take(session, "refit", refit.number, refit.trial_id, owner, group)
        if leased:
            return Nothing(is_done=False)
        report = self._one(session, tasks.c.kind == "report", tasks.c.number == target)
        if report is None or report.state == "waiting":
            return self._take(session, "report", target, None, owner, group)
        return Nothing(is_done=True)

    def _take(
        self, session: orm.Session, kind: Kind, number: int, trial_id: int | None, owner: str, group: str
    ) -> Lease:
        known = self._one(session, tasks.c.kind == kind, tasks.c.number == number)
        if known is None:
            session.execute(sa.insert(tasks).values(_new_task(self._study_id, kind, number, trial_id)))
        if trial_id is not None and kind == "trial":
            self._mark_code(session, trial_id)
        attempt = (known.attempt if known else 0) + 1
        started = known.started_at_ms if known and known.started_at_ms else self._clock_ms()
        self._update(
            session,
            kind,
            number,
            state="leased",
            attempt=attempt,
            owner=owner,
            grp=group,
            expires_at=self._database.now(session) + self._rules.ttl_s,
            started_at_ms=started,
            tracked=False,
        )
        return Lease(self._study_id, kind, number, trial_id, attempt, owner, group)

    def _mark_code(self, session: orm.Session, trial_id: int) -> None:
        """Note the study's code on a trial; folds that other code has scored are dropped, and are trained again."""
        sweep = session.execute(sa.select(studies.c.sweep).where(studies.c.study_id == self._study_id)).scalar_one()
        code = digest_of_code(json.loads(sweep).get("code") or {})
        before = optuna_tables.trial_attribute(session, trial_id, TRIAL_CODE)
        if before == code or (before is None and not code):
            return
        if before is not None:
            session.execute(sa.delete(folds).where(folds.c.trial_id == trial_id))
            optuna_tables.remove_intermediate_values(session, trial_id)
        optuna_tables.set_trial_attribute(session, trial_id, TRIAL_CODE, code)

    def _check(self, session: orm.Session, lease: Lease) -> None:
        task = self._one(session, tasks.c.kind == lease.kind, tasks.c.number == lease.number)
        if task is None or task.state != "leased" or task.attempt != lease.attempt:
            raise LeaseLostError(f"{lease.kind} {lease.number}, attempt {lease.attempt} of {lease.owner}")

    def _extend(self, session: orm.Session, lease: Lease) -> None:
        self._update(session, lease.kind, lease.number, expires_at=self._database.now(session) + self._rules.ttl_s)

    def _give_back_expired(self, session: orm.Session) -> None:
        now = self._database.now(session)
        for task in self._all(session, tasks.c.state == "leased", tasks.c.expires_at < now):
            self._give_back(session, task, f"its worker was not heard of for {self._rules.ttl_s:.0f} s", is_lost=True)

    def _give_back(self, session: orm.Session, task: sa.Row[Any], what: str, *, is_lost: bool) -> None:
        lost = task.lost + (1 if is_lost else 0)
        if is_lost:
            ended = sa.select(folds).where(folds.c.trial_id == task.trial_id).order_by(folds.c.ended_at_ms.desc())
            last = session.execute(ended.limit(1)).one_or_none() if task.kind == "trial" else None
            session.execute(sa.insert(incidents).values(_incident(task, last, what, self._clock_ms())))
        if lost > self._rules.retries:
            reason = f"lost {lost} times, the last time because {what}"
            if task.kind == "trial":
                optuna_tables.end_trial(session, task.trial_id, TrialState.FAIL, None)
            self._end_task(session, task.kind, task.number, "failed", reason)
            self._update(session, task.kind, task.number, lost=lost)
            return
        if task.kind == "trial":
            optuna_tables.reopen_trial(session, task.trial_id)
        self._update(session, task.kind, task.number, state="waiting", lost=lost, owner=None, grp=None, expires_at=None)

    def _end_task(
        self, session: orm.Session, kind: str, number: int, state: str, reason: str | None, result: str | None = None
    ) -> None:
        self._update(
            session,
            kind,
            number,
            state=state,
            reason=reason,
            result=result,
            owner=None,
            expires_at=None,
            ended_at_ms=self._clock_ms(),
            tracked=False,
        )

    def _update(self, session: orm.Session, kind: str, number: int, **values: Any) -> None:
        where = (tasks.c.study_id == self._study_id) & (tasks.c.kind == kind) & (tasks.c.number == number)
        session.execute(sa.update(tasks).where(where).values(**values))

    def _lease(self, task: sa.Row[Any]) -> Lease:
        return Lease(self._study_id, task.kind, task.number, task.trial_id, task.attempt, task.owner, task.grp)


def _trial_id(lease: Lease) -> int:
    assert lease.trial_id is not None, "only the report has no trial"
    return lease.trial_id


def _new_task(study_id: int, kind: Kind, number: int, trial_id: int | None) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "kind": kind,
        "number": number,
        "trial_id": trial_id,
        "state": "waiting",
        "attempt": 0,
        "lost": 0,
        "tracked": False,
    }


def _fold_row(study_id: int, lease: Lease, fold: FoldRecord) -> dict[str, Any]:
    return {
        "trial_id": lease.trial_id,
        "fold": fold.fold,
        "study_id": study_id,
        "attempt": lease.attempt,
        "metrics": json.dumps(dict(fold.metrics)),
        "epochs": fold.epochs,
        "first_step_s": fold.first_step_s,
        "train_s": fold.train_s,
        "score_s": fold.score_s,
        "worker": fold.worker,
        "started_at_ms": fold.started_at_ms,
        "ended_at_ms": fold.ended_at_ms,
    }


def _incident(task: sa.Row[Any], last_fold: sa.Row[Any] | None, what: str, at_ms: int) -> dict[str, Any]:
    """A loss, with the fold that it cost: the one after the last that was recorded."""
    return {
        "study_id": task.study_id,
        "kind": task.kind,
        "number": task.number,
        "attempt": task.attempt,
        "worker": task.grp or "",
        "fold": last_fold.fold + 1 if last_fold is not None else 0,
        "fold_started_at_ms": last_fold.ended_at_ms if last_fold is not None else task.started_at_ms,
        "what": what,
        "at_ms": at_ms,
    }

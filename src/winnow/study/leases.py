"""Leases: which worker works on what, and what its lease allows it to write.

A task is one trial, the refit of one trial, or the closing report. A claim gives tasks to one owner until a time by the
database's clock; `schedule.py` decides which. Every write names its claim (the attempt) and is refused once the task
has passed to another owner. Each public method is one transaction. A study therefore gets exactly as many trials as it
should, whatever dies, and a lost trial continues under its number at the fold in which it was lost.
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
from winnow.study.schedule import (
    FinishTrial,
    Job,
    RefitTrial,
    ScheduleRules,
    ScheduleView,
    TrainFolds,
    WriteReport,
    is_finished,
)
from winnow.study.schedule_query import ScheduleReader
from winnow.study.tables import TRIAL_CODE, folds, incidents, studies, tasks
from winnow.tracking.records import FoldRecord

Kind = Literal["trial", "refit", "report"]
End = Literal["complete", "pruned", "failed"]
_ENDS: Mapping[End, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class LeaseLostError(Exception):
    """The task has passed to another owner, or has ended: what was done for it does not count."""


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
class ClaimedJob:
    """A job with the leases that it needs: one for each of its trials in their order, or one for its only task."""

    job: Job
    leases: tuple[Lease, ...]


@dataclass(frozen=True)
class ScoredFold:
    """A fold's result for the trial of a lease; `score` is its objective."""

    lease: Lease
    fold: FoldRecord
    score: float


@dataclass(frozen=True)
class Claim:
    """What a worker is to do now. Without jobs, the study is finished or others hold what is left."""

    jobs: tuple[ClaimedJob, ...]
    is_study_finished: bool = False

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases of all jobs."""
        return tuple(lease for claimed in self.jobs for lease in claimed.leases)


@dataclass(frozen=True)
class Failure:
    """Where to read on about a failed trial: the end of the guilty rank's log, and the log itself on its machine."""

    tail: tuple[str, ...]
    log: str


@dataclass(frozen=True)
class LeaseRules:
    """How leases of a study are given.

    Attributes:
        ttl_s: how long a lease lasts without renewal.
        retries: how often a lost task is tried again.
        schedule: what decides which tasks come next.
    """

    ttl_s: float
    retries: int
    schedule: ScheduleRules


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
        self._schedule = ScheduleReader(study_id, rules.schedule)
        self._clock_ms = clock_ms

    def claim(self, owner: str, group: str, decide: Callable[[ScheduleView], tuple[Job, ...]]) -> Claim:
        """Read the study, have `decide` name the owner's jobs, and take every lease that they need.

        Claims of one study wait for each other, so that no decision is out of date. A claim whose answer was lost may
        be repeated: it names the same jobs with the same leases.
        """
        with self._database.writing() as session:
            target, code = self._lock_study(session)
            self._give_back_expired(session, owner)
            view = self._schedule.read(session, owner, target, code)
            jobs = decide(view)
            claimed = tuple(ClaimedJob(job, self._take_all(session, job, owner, group, code)) for job in jobs)
            return Claim(claimed, is_study_finished=not jobs and is_finished(view))

    def renew(self, lease: Lease) -> None:
        """Hold the lease for another `ttl_s`. Raises LeaseLostError."""
        with self._database.writing() as session:
            if not self._is_extended(session, lease):
                raise _lost(lease)

    def set_params(self, lease: Lease, params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> None:
        """Store the parameters that a new trial tries. Raises LeaseLostError."""
        with self._database.writing() as session:
            self._check(session, lease)
            optuna_tables.set_params(session, _trial_id(lease), params, space)

    def record_folds(self, results: Sequence[ScoredFold]) -> tuple[Lease, ...]:
        """Store results of folds and renew their leases. Storing the same fold again replaces it.

        Returns:
            The leases that are lost; nothing is stored for them.
        """
        with self._database.writing() as session:
            return tuple(result.lease for result in results if not self._record(session, result))

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
            target, _ = self._lock_study(session)
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
        """The lives of `group` that hold something. If the group is found dead afterwards, these are the dead ones."""
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

    def _record(self, session: orm.Session, result: ScoredFold) -> bool:
        """Store a fold, unless its lease is lost."""
        lease, fold = result.lease, result.fold
        if not self._is_extended(session, lease):
            return False
        where = (folds.c.trial_id == lease.trial_id) & (folds.c.fold == fold.fold)
        session.execute(sa.delete(folds).where(where))
        session.execute(sa.insert(folds).values(_fold_row(self._study_id, lease, fold)))
        optuna_tables.set_intermediate_value(session, _trial_id(lease), fold.fold, result.score)
        return True

    def _lock_study(self, session: orm.Session) -> tuple[int, str]:
        """Make claims of one study wait for each other; return its target and the digest of its present code."""
        query = sa.select(studies.c.target, studies.c.sweep).where(studies.c.study_id == self._study_id)
        target, sweep = session.execute(query.with_for_update()).one()
        return int(target), digest_of_code(json.loads(sweep).get("code") or {})

    def _all(self, session: orm.Session, *conditions: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        query = sa.select(tasks).where(tasks.c.study_id == self._study_id, *conditions)
        return session.execute(query.order_by(tasks.c.number).with_for_update()).all()

    def _one(self, session: orm.Session, *conditions: sa.ColumnElement[bool]) -> sa.Row[Any] | None:
        found = self._all(session, *conditions)
        return found[0] if found else None

    def _take_all(self, session: orm.Session, job: Job, owner: str, group: str, code: str) -> tuple[Lease, ...]:
        match job:
            case TrainFolds(pairs):
                numbers = dict.fromkeys(pair.trial for pair in pairs)
                return tuple(self._take_trial(session, number, owner, group, code) for number in numbers)
            case FinishTrial(trial):
                return (self._take_trial(session, trial, owner, group, code),)
            case RefitTrial(trial):
                trial_id = optuna_tables.trial_id_of(session, self._study_id, trial)
                return (self._take(session, "refit", trial, trial_id, owner, group),)
            case WriteReport(trials):
                return (self._take(session, "report", trials, None, owner, group),)

    def _take_trial(self, session: orm.Session, number: int, owner: str, group: str, code: str) -> Lease:
        """Lease a trial, or add it. One that is claimed anew is marked as running with the study's present code."""
        held = self._one(session, tasks.c.kind == "trial", tasks.c.number == number, tasks.c.owner == owner)
        if held is not None:
            return self._lease(held)
        if number >= optuna_tables.count_trials(session, self._study_id):
            trial_id = optuna_tables.add_running_trial(session, self._study_id, number)
            lease = self._take(session, "trial", number, trial_id, owner, group)
        else:
            trial_id = optuna_tables.trial_id_of(session, self._study_id, number)
            lease = self._take(session, "trial", number, trial_id, owner, group)
            optuna_tables.start_trial(session, trial_id)
        self._mark_code(session, trial_id, code)
        return lease

    def _take(
        self, session: orm.Session, kind: Kind, number: int, trial_id: int | None, owner: str, group: str
    ) -> Lease:
        known = self._one(session, tasks.c.kind == kind, tasks.c.number == number)
        if known is None:
            session.execute(sa.insert(tasks).values(_new_task(self._study_id, kind, number, trial_id)))
        elif known.owner == owner:
            return self._lease(known)
        elif known.state == "leased":
            raise ValueError(f"{kind} {number} is held by {known.owner}: no schedule may give it to {owner} too")
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
            expires_at=self._database.clock + self._rules.ttl_s,
            started_at_ms=started,
            tracked=False,
        )
        return Lease(self._study_id, kind, number, trial_id, attempt, owner, group)

    def _mark_code(self, session: orm.Session, trial_id: int, code: str) -> None:
        """Note the study's code on a trial. Folds that other code has scored are dropped, and are trained again."""
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
            raise _lost(lease)

    def _is_extended(self, session: orm.Session, lease: Lease) -> bool:
        """Renew a lease, unless it is lost."""
        is_held = (
            (tasks.c.study_id == self._study_id)
            & (tasks.c.kind == lease.kind)
            & (tasks.c.number == lease.number)
            & (tasks.c.attempt == lease.attempt)
            & (tasks.c.state == "leased")
        )
        expires_at = self._database.clock + self._rules.ttl_s
        renewed = session.execute(sa.update(tasks).where(is_held).values(expires_at=expires_at))
        return bool(renewed.rowcount)  # type: ignore[attr-defined]

    def _give_back_expired(self, session: orm.Session, owner: str) -> None:
        """Give back what has expired. The owner that claims lives, and keeps what no other has taken."""
        expired = (tasks.c.state == "leased", tasks.c.expires_at < self._database.clock, tasks.c.owner != owner)
        for task in self._all(session, *expired):
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


def _lost(lease: Lease) -> LeaseLostError:
    return LeaseLostError(f"{lease.kind} {lease.number}, attempt {lease.attempt} of {lease.owner}")


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

"""Leases: which worker works on which task, and what it may write.

A task is a trial, the refit of a trial, or the closing report. A claim leases tasks to one owner until a time by the
database's clock; `schedule.py` decides which. Every write names its claim (the attempt) and is refused once another
owner has the task. Each public method is one transaction. So a study gets exactly as many trials as it should, whatever
process dies, and a lost trial continues under its number at the fold in which it was lost.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from winnow.config.experiment import BudgetConfig
from winnow.study import budget, optuna_tables
from winnow.study.database import Database
from winnow.study.mirror import Mirror, MirroredTrial, StudyState
from winnow.study.optuna_tables import Params
from winnow.study.schedule import (
    FinishTrial,
    Job,
    RefitTrial,
    ScheduleRules,
    ScheduleView,
    TrainFolds,
    WriteReport,
    is_finished,
    refits_left,
)
from winnow.study.space import Proposer
from winnow.study.tables import FOLD_SCORES, REASON, TRIAL_CODE, curves, folds, incidents, out_of_fold, studies, tasks
from winnow.tracking.records import Curves, FoldRecord

Kind = Literal["trial", "refit", "report"]
WorkerJob = TrainFolds | RefitTrial | WriteReport
"""A job for a worker; claims carry out `FinishTrial` themselves."""

_UNLIMITED = BudgetConfig()
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class LeaseLostError(Exception):
    """Another owner has the task, or the task has ended: the work does not count."""


@dataclass(frozen=True)
class Lease:
    """The right to work on one task.

    Attributes:
        number: the trial's number; for the report, the number of trials that it covers.
        owner: one life of one worker group.
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
    """A job with its leases, in the order of its trials, and the parameters (Optuna's external form) by trial."""

    job: WorkerJob
    leases: tuple[Lease, ...]
    params: Mapping[int, Params] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredFold:
    """A fold's result; `score` is the objective, `outputs` what a refit needs of it (`training/out_of_fold.py`)."""

    lease: Lease
    fold: FoldRecord
    score: float
    curves: Curves = field(default_factory=dict)
    outputs: bytes | None = None


@dataclass(frozen=True)
class Failure:
    """The end of the failed rank's log, and the path of the log on its machine."""

    tail: tuple[str, ...]
    log: str


@dataclass(frozen=True)
class FailedFold:
    """A fold that failed, and its trial with it."""

    lease: Lease
    reason: str
    detail: Failure | None = None


@dataclass(frozen=True)
class StoppedFold:
    """A fold that was stopped after an epoch, and its trial with it: it is pruned, and the fold has no score."""

    lease: Lease
    fold: int
    reason: str
    value: float
    curves: Curves = field(default_factory=dict)


Result = ScoredFold | FailedFold | StoppedFold


@dataclass(frozen=True)
class Claim:
    """A worker's next jobs. Without jobs, the study is finished or other workers have the rest.

    Attributes:
        lost: leases that the worker has lost; their results were not stored.
    """

    jobs: tuple[ClaimedJob, ...]
    is_study_finished: bool = False
    lost: tuple[Lease, ...] = ()

    @property
    def leases(self) -> tuple[Lease, ...]:
        """The leases of all jobs."""
        return tuple(lease for claimed in self.jobs for lease in claimed.leases)


@dataclass(frozen=True)
class _End:
    """How a trial ends."""

    state: Literal["complete", "pruned", "failed"]
    value: float | None
    reason: str | None
    detail: Failure | None = None


@dataclass(frozen=True)
class LeaseRules:
    """A study's rules: how long a lease lasts without renewal, how often a lost task is retried, what comes next."""

    ttl_s: float
    retries: int
    schedule: ScheduleRules
    proposer: Proposer
    budget: BudgetConfig = _UNLIMITED


class Leases:
    """The leases of one study. `clock_ms` gives the times in records; the database's clock measures leases."""

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
        self._mirror = Mirror(database, study_id, rules.schedule, keeps_notes=rules.proposer.keeps_notes)
        self._clock_ms = clock_ms

    def claim(
        self,
        owner: str,
        group: str,
        decide: Callable[[ScheduleView], tuple[Job, ...]],
        results: Sequence[Result] = (),
    ) -> Claim:
        """Store results, ask `decide` for the owner's jobs, take their leases, and propose parameters.

        If `decide` ends trials, they are ended and it is asked again. Claims of one study wait for each other, so that
        every decision is up to date and each proposal sees all others. A repeated claim returns the same jobs and
        leases.
        """
        with self._database.writing() as connection:
            study = self._read(connection, owner)
            lost = self._store(connection, study, results)
            self._end_if_spent(connection, study)
            view = study.view(self._rules.schedule, owner)
            while ends := _ends(jobs := decide(view)):
                self._end_trials(connection, study, owner, ends)
                view = study.view(self._rules.schedule, owner)
            claimed = tuple(
                self._take_job(connection, study, job, owner, group) for job in jobs if not isinstance(job, FinishTrial)
            )
            return Claim(claimed, not jobs and is_finished(view), lost)

    def record(self, results: Sequence[Result]) -> tuple[Lease, ...]:
        """Store results of one owner and renew its leases; return the lost leases, whose results are not stored.

        Storing a fold again replaces it.
        """
        with self._database.writing() as connection:
            return self._store(connection, self._read(connection, results[0].lease.owner), results)

    def renew(self, lease: Lease) -> None:
        """Hold the lease for another `ttl_s`. Raises LeaseLostError."""
        with self._database.writing() as connection:
            is_held = (tasks.c.attempt == lease.attempt) & (tasks.c.state == "leased")
            if not self._update(connection, lease.kind, lease.number, is_held, expires_at=self._expiry):
                raise _lost(lease)

    def finish_task(self, lease: Lease, *, result: Mapping[str, Any] | None = None, reason: str | None = None) -> None:
        """End a refit with its result, or the report; with a `reason`, as failed. Raises LeaseLostError."""
        with self._database.writing() as connection:
            self._lock_study(connection)
            held = self._held(connection, lease)
            if held is None:
                raise _lost(lease)
            state = "failed" if reason is not None else "done"
            kept = held.result if lease.kind == "report" else json.dumps(result) if result else None
            self._end_task(connection, lease.kind, lease.number, state, reason, kept)

    def refits_left(self) -> tuple[int, ...]:
        """See `schedule.refits_left`."""
        with self._database.writing() as connection:
            return refits_left(self._mirror.read(connection).view(self._rules.schedule, owner=""))

    def request_refit(self, number: int) -> None:
        """Have a trial refitted that is not among the best, or whose refit has ended."""
        with self._database.writing() as connection:
            self._lock_study(connection)
            known = self._one(connection, tasks.c.kind == "refit", tasks.c.number == number)
            if known is None:
                trial_id = optuna_tables.trial_id_of(connection, self._study_id, number)
                connection.execute(sa.insert(tasks).values(_new_task(self._study_id, "refit", number, trial_id)))
            elif known.state in ("done", "failed"):
                self._update(connection, "refit", number, state="waiting", lost=0, reason=None, result=None)

    def retry_failed(self) -> tuple[int, ...]:
        """Make failed trials and refits claimable again; return the trials' numbers.

        Trials keep their numbers, their parameters, and the folds that the study's present code has scored.
        """
        with self._database.writing() as connection:
            target = self._lock_study(connection)
            failed = self._all(connection, tasks.c.state == "failed", tasks.c.kind.in_(["trial", "refit"]))
            for task in failed:
                if task.kind == "trial":
                    optuna_tables.reopen_trial(connection, task.trial_id)
                    optuna_tables.remove_trial_attributes(connection, task.trial_id, (FOLD_SCORES, REASON))
                anew = {"state": "waiting", "lost": 0, "reason": None, "result": None, "ended_at_ms": None}
                self._update(connection, task.kind, task.number, **anew)
            if failed:
                self._update(connection, "report", target, state="waiting", ended_at_ms=None)
            return tuple(task.number for task in failed if task.kind == "trial")

    def give_back(self, lease: Lease, what: str, *, is_lost: bool) -> None:
        """Make the task claimable; recorded folds stay. `is_lost` counts towards `retries`. Ignores a lost lease."""
        with self._database.writing() as connection:
            # Without the lock, a claim could see neither a waiting nor a leased task, and take the study for done.
            self._lock_study(connection)
            held = self._held(connection, lease)
            if held is not None:
                self._give_back(connection, held, what, is_lost=is_lost)

    def owners(self, group: str) -> frozenset[str]:
        """The lives of `group` that hold leases. If the group is found dead afterwards, these are dead."""
        with self._database.reading() as connection:
            where = (tasks.c.study_id == self._study_id) & (tasks.c.grp == group) & (tasks.c.state == "leased")
            return frozenset(connection.execute(sa.select(tasks.c.owner).where(where)).scalars())

    def give_back_group(
        self,
        group: str,
        what: str,
        *,
        of: Collection[str] | None = None,
        keep: str | None = None,
        is_lost: bool = True,
    ) -> int:
        """Give back what dead owners of `group` held; return how many tasks that were.

        The owners are all but `keep`, or only those in `of`, if the group may have been started again.
        """
        with self._database.writing() as connection:
            self._lock_study(connection)
            conditions = [tasks.c.grp == group, tasks.c.state == "leased"]
            if keep is not None:
                conditions.append(tasks.c.owner != keep)
            if of is not None:
                conditions.append(tasks.c.owner.in_(of))
            held = self._all(connection, *conditions)
            for task in held:
                self._give_back(connection, task, what, is_lost=is_lost)
            return len(held)

    # The methods below run in a transaction of those above.

    def _lock_study(self, connection: Connection) -> int:
        """Make other writers of the study's tasks wait for this transaction; return the study's target."""
        query = sa.select(studies.c.target).where(studies.c.study_id == self._study_id)
        return int(connection.execute(query.with_for_update()).scalar_one())

    def _read(self, connection: Connection, owner: str) -> StudyState:
        """Lock and read the study, and give back expired leases, except those of `owner`, which is alive."""
        study = self._mirror.read(connection)
        held = [*(trial.task for trial in study.trials if trial.owner), *study.closing]
        expired = [
            task
            for task in held
            if task is not None and task.expires_at is not None and task.expires_at < study.now and task.owner != owner
        ]
        if not expired:
            return study
        for task in expired:
            self._give_back(
                connection, task, f"its worker was not heard of for {self._rules.ttl_s:.0f} s", is_lost=True
            )
        return self._mirror.read(connection)

    def _store(self, connection: Connection, study: StudyState, results: Sequence[Result]) -> tuple[Lease, ...]:
        """Store the results of held leases; return the lost leases."""
        if not results:
            return ()
        held = [result for result in results if _is_held(study, result.lease)]
        lost = tuple(dict.fromkeys(result.lease for result in results if not _is_held(study, result.lease)))
        scored = [result for result in held if isinstance(result, ScoredFold)]
        failed = {result.lease.number: result for result in held if isinstance(result, FailedFold)}
        if scored:
            self._store_scores(connection, study, scored)
        self._store_stopped(connection, study, [result for result in held if isinstance(result, StoppedFold)])
        owner = results[0].lease.owner
        self._end_trials(
            connection,
            study,
            owner,
            {number: _End("failed", None, each.reason, each.detail) for number, each in failed.items()},
        )
        connection.execute(_RENEW, {"of": self._study_id, "by": owner, "until": study.now + self._rules.ttl_s})
        return lost

    def _end_if_spent(self, connection: Connection, study: StudyState) -> None:
        """Add no further trials once a budget is spent."""
        limits, trials = self._rules.budget, len(study.trials)
        if limits == _UNLIMITED or trials >= study.target:
            return
        failed = sum(trial.state == "failed" for trial in study.trials)
        worked_s = 0.0 if limits.time is None else budget.worked_s(connection, self._study_id, study.now)
        by = budget.spent(limits, worked_s, failed)
        if by is not None and trials > 0:
            budget.end(connection, self._study_id, by, trials)
            study.target = trials

    def _store_scores(self, connection: Connection, study: StudyState, scored: Sequence[ScoredFold]) -> None:
        again = [
            (_trial_id(each.lease), each.fold.fold)
            for each in scored
            if each.fold.fold in study.trials[each.lease.number].scores
        ]
        if again:
            which = [{"of": trial_id, "at": fold} for trial_id, fold in again]
            connection.execute(_REMOVE_FOLDS, which)
            connection.execute(_REMOVE_CURVES, which)
            connection.execute(_REMOVE_OUTPUTS, which)
            optuna_tables.remove_intermediate_values(connection, again)
        connection.execute(_ADD_FOLDS, [_fold_row(self._study_id, each.lease, each.fold) for each in scored])
        drawn = [each for each in scored if each.curves]
        if drawn:
            rows = [_curve_row(self._study_id, each.lease, each.fold.fold, each.curves) for each in drawn]
            connection.execute(_ADD_CURVES, rows)
        kept = [each for each in scored if each.outputs is not None]
        if kept:
            rows = [_of_fold(self._study_id, each.lease, each.fold.fold) | {"outputs": each.outputs} for each in kept]
            connection.execute(_ADD_OUTPUTS, rows)
        scores = {(_trial_id(each.lease), each.fold.fold): each.score for each in scored}
        optuna_tables.set_intermediate_values(connection, scores)
        for each in scored:
            trial = study.trials[each.lease.number]
            study.trials[trial.number] = replace(trial, scores={**trial.scores, each.fold.fold: each.score})

    def _store_stopped(self, connection: Connection, study: StudyState, stopped: Sequence[StoppedFold]) -> None:
        for each in stopped:
            if each.curves:
                connection.execute(_REMOVE_CURVES, {"of": _trial_id(each.lease), "at": each.fold})
                connection.execute(_ADD_CURVES, _curve_row(self._study_id, each.lease, each.fold, each.curves))
            # The sampler learns from the mean over the folds, the last one as far as it came.
            value = statistics.fmean([*study.trials[each.lease.number].scores.values(), each.value])
            ends = {each.lease.number: _End("pruned", value, each.reason)}
            self._end_trials(connection, study, each.lease.owner, ends)

    def _end_trials(self, connection: Connection, study: StudyState, owner: str, ends: Mapping[int, _End]) -> None:
        """End trials that `owner` holds, or no one."""
        if not ends:
            return
        for number in ends:
            _check_free(study.trials[number], owner)
        ids = {number: study.trials[number].trial_id for number in ends}
        optuna_tables.end_trials(connection, {ids[n]: (_STATES[end.state], end.value) for n, end in ends.items()})
        told = {ids[number]: _attributes(study.trials[number].scores, end.reason) for number, end in ends.items()}
        optuna_tables.add_trial_attributes(connection, told)
        pruned = [ids[number] for number, end in ends.items() if end.state == "pruned"]
        if pruned:
            connection.execute(sa.delete(out_of_fold).where(out_of_fold.c.trial_id.in_(pruned)))
        now_ms = self._clock_ms()
        rows = [
            {
                "of": self._study_id,
                "at": number,
                "end": "failed" if end.state == "failed" else "done",
                "why": end.reason,
                "detail": json.dumps(asdict(end.detail)) if end.detail else None,
                "now_ms": now_ms,
            }
            for number, end in ends.items()
        ]
        connection.execute(_END_TRIALS, rows)
        for number, end in ends.items():
            study.trials[number] = replace(study.trials[number], state=end.state, value=end.value, owner=None)

    def _take_job(
        self, connection: Connection, study: StudyState, job: WorkerJob, owner: str, group: str
    ) -> ClaimedJob:
        match job:
            case TrainFolds(pairs):
                numbers = tuple(dict.fromkeys(pair.trial for pair in pairs))
                leases = self._take_trials(connection, study, numbers, owner, group)
                return ClaimedJob(job, leases, {number: study.trials[number].params[0] for number in numbers})
            case RefitTrial(trial):
                trial_id = study.trials[trial].trial_id
                return ClaimedJob(job, (self._take(connection, "refit", trial, trial_id, owner, group),))
            case WriteReport(trials, refits):
                lease = self._take(connection, "report", trials, None, owner, group)
                self._update(connection, "report", trials, result=json.dumps({"refits": refits}))
                return ClaimedJob(job, (lease,))

    def _take_trials(
        self, connection: Connection, study: StudyState, numbers: Sequence[int], owner: str, group: str
    ) -> tuple[Lease, ...]:
        """Lease trials or add them. Trials that are claimed anew get the study's present code, and parameters."""
        before = len(study.trials)
        for number in numbers:
            if number >= before:
                trial_id = optuna_tables.add_running_trial(connection, self._study_id, number)
                study.trials.append(MirroredTrial(trial_id, number, "running", code=study.code, owner=owner, attempt=1))
            elif study.trials[number].owner != owner:
                self._take_trial(connection, study, number, owner, group)
        new = study.trials[before:]
        if new:
            held = {"state": "leased", "attempt": 1, "owner": owner, "grp": group}
            times = {"expires_at": study.now + self._rules.ttl_s, "started_at_ms": self._clock_ms()}
            tasks_of = [_new_task(self._study_id, "trial", each.number, each.trial_id) | held | times for each in new]
            connection.execute(_ADD_TASKS, tasks_of)
            if study.code:
                codes = {trial.trial_id: {TRIAL_CODE: study.code} for trial in new}
                optuna_tables.add_trial_attributes(connection, codes)
        self._propose(connection, study, numbers, before)
        taken = [study.trials[number] for number in numbers]
        return tuple(
            Lease(self._study_id, "trial", trial.number, trial.trial_id, trial.attempt, owner, group) for trial in taken
        )

    def _take_trial(self, connection: Connection, study: StudyState, number: int, owner: str, group: str) -> None:
        """Lease a waiting trial. Folds that other code has scored are removed."""
        trial = study.trials[number]
        _check_free(trial, owner)
        lease = self._take(connection, "trial", number, trial.trial_id, owner, group)
        optuna_tables.start_trial(connection, trial.trial_id)
        scores = trial.scores
        if trial.code != study.code and (trial.code is not None or study.code):
            if trial.code is not None:
                scores = {}
                for table in (folds, curves, out_of_fold):
                    connection.execute(sa.delete(table).where(table.c.trial_id == trial.trial_id))
                optuna_tables.remove_all_intermediate_values(connection, trial.trial_id)
            optuna_tables.remove_trial_attributes(connection, trial.trial_id, (TRIAL_CODE,))
            optuna_tables.add_trial_attributes(connection, {trial.trial_id: {TRIAL_CODE: study.code}})
        study.trials[number] = replace(
            trial, state="running", scores=scores, code=study.code, owner=owner, attempt=lease.attempt
        )

    def _propose(self, connection: Connection, study: StudyState, numbers: Sequence[int], before: int) -> None:
        """Propose parameters for trials that lack some. Each proposal sees the earlier ones as running.

        Args:
            before: how many trials the study had before this claim.
        """
        proposer, proposed = self._rules.proposer, {}
        for number in numbers:
            trial = study.trials[number]
            known, _ = trial.params
            if known and not proposer.lacks(known):
                continue
            enqueued = optuna_tables.read_enqueued(connection, trial.trial_id) if number < before else {}
            params = proposer.propose(self._mirror.sampled(), trial.frozen, {**enqueued, **known})
            proposed[trial.trial_id] = {name: value for name, value in params.items() if name not in known}
            study.trials[number] = replace(trial, params=(params, proposer.of_trial(params)))
        optuna_tables.set_params(connection, proposer.space, proposed)
        self._mirror.store_notes(connection)

    def _all(self, connection: Connection, *conditions: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        query = sa.select(tasks).where(tasks.c.study_id == self._study_id, *conditions)
        return connection.execute(query.order_by(tasks.c.number).with_for_update()).all()

    def _one(self, connection: Connection, *conditions: sa.ColumnElement[bool]) -> sa.Row[Any] | None:
        found = self._all(connection, *conditions)
        return found[0] if found else None

    def _held(self, connection: Connection, lease: Lease) -> sa.Row[Any] | None:
        """The task of a lease; None if the lease is lost."""
        is_it = (tasks.c.kind == lease.kind) & (tasks.c.number == lease.number)
        return self._one(connection, is_it, tasks.c.attempt == lease.attempt, tasks.c.state == "leased")

    def _take(
        self, connection: Connection, kind: Kind, number: int, trial_id: int | None, owner: str, group: str
    ) -> Lease:
        known = self._one(connection, tasks.c.kind == kind, tasks.c.number == number)
        if known is None:
            connection.execute(_ADD_TASKS, _new_task(self._study_id, kind, number, trial_id))
        elif known.owner == owner:
            return Lease(self._study_id, kind, number, known.trial_id, known.attempt, owner, known.grp)
        elif known.state == "leased":
            raise ValueError(f"{kind} {number} is held by {known.owner}: no schedule may give it to {owner} too")
        attempt = (known.attempt if known else 0) + 1
        started = known.started_at_ms if known and known.started_at_ms else self._clock_ms()
        self._update(
            connection,
            kind,
            number,
            state="leased",
            attempt=attempt,
            owner=owner,
            grp=group,
            expires_at=self._expiry,
            started_at_ms=started,
            tracked=False,
        )
        return Lease(self._study_id, kind, number, trial_id, attempt, owner, group)

    @property
    def _expiry(self) -> sa.ColumnElement[float]:
        return self._database.clock + self._rules.ttl_s

    def _give_back(self, connection: Connection, task: sa.Row[Any], what: str, *, is_lost: bool) -> None:
        lost = task.lost + (1 if is_lost else 0)
        if is_lost:
            ended = sa.select(folds).where(folds.c.trial_id == task.trial_id).order_by(folds.c.ended_at_ms.desc())
            last = connection.execute(ended.limit(1)).one_or_none() if task.kind == "trial" else None
            incident = {name: getattr(task, name) for name in ("study_id", "kind", "number", "attempt")} | {
                "worker": task.grp or "",
                # The lost fold is the one after the last recorded one.
                "fold": last.fold + 1 if last is not None else 0,
                "fold_started_at_ms": last.ended_at_ms if last is not None else task.started_at_ms,
                "what": what,
                "at_ms": self._clock_ms(),
            }
            connection.execute(sa.insert(incidents).values(incident))
        if lost > self._rules.retries:
            reason = f"lost {lost} times, the last time because {what}"
            if task.kind == "trial":
                optuna_tables.end_trials(connection, {task.trial_id: (TrialState.FAIL, None)})
            self._end_task(connection, task.kind, task.number, "failed", reason)
            self._update(connection, task.kind, task.number, lost=lost)
            return
        if task.kind == "trial":
            optuna_tables.reopen_trial(connection, task.trial_id)
        self._update(
            connection, task.kind, task.number, state="waiting", lost=lost, owner=None, grp=None, expires_at=None
        )

    def _end_task(
        self, connection: Connection, kind: str, number: int, state: str, reason: str | None, result: str | None = None
    ) -> None:
        self._update(
            connection,
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

    def _update(
        self, connection: Connection, kind: str, number: int, *conditions: sa.ColumnElement[bool], **values: Any
    ) -> int:
        """Change a task if the conditions hold; return the number of changed rows."""
        is_it = (tasks.c.study_id == self._study_id) & (tasks.c.kind == kind) & (tasks.c.number == number)
        changed = connection.execute(sa.update(tasks).where(is_it, *conditions).values(**values))
        return int(changed.rowcount)


_ADD_FOLDS, _ADD_CURVES, _ADD_OUTPUTS, _ADD_TASKS = map(sa.insert, (folds, curves, out_of_fold, tasks))
_REMOVE_FOLDS, _REMOVE_CURVES, _REMOVE_OUTPUTS = (
    sa.delete(table).where(table.c.trial_id == sa.bindparam("of"), table.c.fold == sa.bindparam("at"))
    for table in (folds, curves, out_of_fold)
)
_RENEW = (
    sa.update(tasks)
    .where(tasks.c.study_id == sa.bindparam("of"), tasks.c.owner == sa.bindparam("by"), tasks.c.state == "leased")
    .values(expires_at=sa.bindparam("until"))
)
_END_TRIALS = (
    sa.update(tasks)
    .where(tasks.c.study_id == sa.bindparam("of"), tasks.c.kind == "trial", tasks.c.number == sa.bindparam("at"))
    .values(
        state=sa.bindparam("end"),
        reason=sa.bindparam("why"),
        result=sa.bindparam("detail"),
        owner=None,
        expires_at=None,
        ended_at_ms=sa.bindparam("now_ms"),
        tracked=False,
    )
)


def _ends(jobs: Sequence[Job]) -> dict[int, _End]:
    """How jobs end trials, by number."""
    return {job.trial: _End(job.end, job.value, job.reason) for job in jobs if isinstance(job, FinishTrial)}


def _is_held(study: StudyState, lease: Lease) -> bool:
    trial = study.trials[lease.number]
    return (trial.owner, trial.attempt) == (lease.owner, lease.attempt)


def _check_free(trial: MirroredTrial, owner: str) -> None:
    if trial.owner not in (None, owner):
        raise ValueError(f"trial {trial.number} is held by {trial.owner}: no schedule may give it to {owner} too")


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


def _attributes(scores: Mapping[int, float], reason: str | None) -> dict[str, Any]:
    """What a trial's end leaves in Optuna's tables for their readers, besides its value."""
    told: dict[str, Any] = {FOLD_SCORES: [scores[fold] for fold in sorted(scores)]} if scores else {}
    return told | ({REASON: reason} if reason else {})


def _fold_row(study_id: int, lease: Lease, fold: FoldRecord) -> dict[str, Any]:
    own = {"trial_id": lease.trial_id, "study_id": study_id, "attempt": lease.attempt}
    return vars(fold) | own | {"metrics": json.dumps(dict(fold.metrics))}


def _curve_row(study_id: int, lease: Lease, fold: int, points: Curves) -> dict[str, Any]:
    return _of_fold(study_id, lease, fold) | {"points": json.dumps(points, separators=(",", ":"))}


def _of_fold(study_id: int, lease: Lease, fold: int) -> dict[str, Any]:
    return {"trial_id": lease.trial_id, "fold": fold, "study_id": study_id}

"""A study: make it, find it, compare it with an experiment, and read it.

A running sweep writes through `leases.py`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from optuna.trial import TrialState
from sqlalchemy.engine import Connection

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.grid import size, trials_wanted
from winnow.config.next_command import next_command
from winnow.config.search import ENDINGS, OWN_PRUNERS, Ending
from winnow.config.user_code import digest_of_code
from winnow.study import budget, optuna_tables
from winnow.study.database import Database
from winnow.study.epoch_pruning import FoldCurves
from winnow.study.header import StudyHeader
from winnow.study.leases import Failure, LeaseRules, Leases
from winnow.study.optuna_pruning import FoldPruner
from winnow.study.schedule import STARTUP_TRIALS, ScheduleRules
from winnow.study.space import Proposer, decode
from winnow.study.status import StudyStatus, WorkerStatus
from winnow.study.status_query import REFUSED, STOPPED, read_status
from winnow.study.tables import TRIAL_CODE, curves, folds, incidents, out_of_fold, studies, tasks, workers
from winnow.study.view import Incident, StudyView
from winnow.tracking.records import Curves, FoldRecord, SweepRecord, TrialRecord

LEASE_MARGIN_S = 60.0
"""A lease lasts this much longer than a worker waits for a database that does not answer."""

_NOT_LEARNING = frozenset({"random", "grid", "qmc", "brute_force"})
_PRUNERS: Mapping[str, Literal["off", "racing", "median"]] = {"off": "off", "racing": "racing", "median": "median"}
_NOT_PACKED, _POINTS = "winnow:not_packed", "winnow:points"
_ALONE = "winnow:alone"
"""Prefix of the attributes of Optuna's study that count, for each node, how often it lost its group."""


@dataclass(frozen=True)
class WorkerLife:
    """One life of a worker group; `is_heard`: its last report has not expired (`StudyStore.hear`)."""

    owner: str
    group: str
    host: str
    status: WorkerStatus
    is_heard: bool


@dataclass(frozen=True)
class Unsent:
    """A trial whose present state the tracking store may lack.

    Attributes:
        is_ended: whether it, or its refit, has ended.
        attempts: how often it was claimed.
        folds: how many of its folds are recorded.
        started_at_ms: when it was first claimed, milliseconds since the epoch; 0 if never.
    """

    number: int
    is_ended: bool
    attempts: int
    folds: int
    started_at_ms: int


@dataclass(frozen=True)
class RefitResult:
    """The result of a trial's refit: a version of the registered model, or the reason why there is none."""

    trial: int
    version: str | None
    reason: str | None


class StudyStore:
    """The study called `name` in a database, which `create` needs opened with `create=True`."""

    def __init__(
        self, database: Database, name: str, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.database = database
        self.name = name
        self._clock_ms = clock_ms
        self._header: StudyHeader | None = None

    # Making and opening

    def exists(self) -> bool:
        """Whether the study exists."""
        return self.name in study_names(self.database)

    def create(self, experiment: Experiment, sweep: SweepRecord, points: Sequence[Mapping[str, Any]] = ()) -> None:
        """Make the study, or update an existing one's number of trials, execution and code.

        Args:
            points: what a new study's first trials try (`warm_start.py`). An existing study keeps its own.

        Raises:
            InputError: the existing study has another definition or other data; it is unchanged.
        """
        self.check(experiment, sweep)
        try:
            self._create(experiment, sweep, points)
        except sa.exc.IntegrityError:
            # Another process made it meanwhile.
            self._create(experiment, sweep, points)
        self._header = None

    def _create(self, experiment: Experiment, sweep: SweepRecord, points: Sequence[Mapping[str, Any]]) -> None:
        experiment_json = json.dumps(experiment.without_secrets().model_dump(mode="json", by_alias=True))
        with self.database.writing() as connection:
            study_id = optuna_tables.study_id_of(connection, self.name)
            if study_id is None:
                study_id = optuna_tables.add_study(connection, self.name, sweep.goal)
            # Of two processes that make the study at once, the second waits here and then finds the first one's row.
            optuna_tables.lock_study(connection, study_id)
            # Claims lock this row before they write attributes, so it is locked first here, too.
            row = sa.select(studies).where(studies.c.study_id == study_id).with_for_update()
            known = connection.execute(row).one_or_none()
            optuna_tables.name_metric(connection, study_id, sweep.metric)
            trials = optuna_tables.count_trials(connection, study_id)
            target = self._target(connection, study_id, experiment, trials)
            values = {"target": target, "experiment": experiment_json}
            if known is None:
                values |= {"study_id": study_id, "sweep": json.dumps(dataclasses.asdict(sweep))}
                connection.execute(sa.insert(studies).values(values))
                if points:
                    optuna_tables.set_attribute(connection, study_id, _POINTS, list(points))
            else:
                values["sweep"] = self._with_code(connection, study_id, json.loads(known.sweep), sweep.code)
                connection.execute(sa.update(studies).where(studies.c.study_id == study_id).values(values))

    def _target(self, connection: Connection, study_id: int, experiment: Experiment, trials: int) -> int:
        """How many trials a study of so many is to have, unless a budget ends it; stores what will end it."""
        search = experiment.search
        target = max(trials_wanted(search), trials)
        failed = optuna_tables.counts_by_state(connection, study_id).get(study_id, {}).get(TrialState.FAIL, 0)
        worked_s = budget.rested_s(connection, study_id, self.database.now(connection))
        by: Ending | None = budget.spent(search.budget, worked_s, failed) if trials else None
        if by is None:
            is_whole_grid = search.sampler.type == "grid" and target >= size(search.space)
            by = "grid" if is_whole_grid else "trials"
        elif trials < target:
            target = trials
        optuna_tables.set_attribute(connection, study_id, budget.ENDS_BY, by)
        return target

    def wants_more(self, experiment: Experiment) -> bool:
        """Whether the experiment has more trials than this study, and its budget is not what has ended it."""
        if trials_wanted(experiment.search) <= self.target():
            return False
        by = self.ended_by()
        limits = self.header.experiment.search.budget
        return by not in ("time", "failures") or experiment.search.budget != limits

    def ended_by(self) -> Ending:
        """What ends, or has ended, the study."""
        with self.database.reading() as connection:
            return budget.ending(optuna_tables.attributes(connection, self.study_id))

    def check_definition(self, experiment: Experiment) -> None:
        """Raise InputError if this study does not continue the experiment. Needs no data."""
        if self.exists():
            self.header.check_definition(experiment)

    def check(self, experiment: Experiment, sweep: SweepRecord) -> None:
        """Raise InputError if this study does not continue the experiment and its data."""
        self.check_definition(experiment)
        if self.exists():
            self.header.check_data(sweep)

    def check_code(self, code: Mapping[str, str], allowing: str) -> None:
        """Raise InputError if the study was trained with other code; see `StudyHeader.check_code`."""
        # Read again, because another process may have resumed the study with changed code.
        self._read_header().check_code(code, allowing)

    def leases(self) -> Leases:
        """The leases of this study."""
        execution, search = self.header.experiment.execution, self.header.experiment.search
        rules = LeaseRules(
            ttl_s=execution.storage_patience_s + LEASE_MARGIN_S,
            retries=execution.retries,
            schedule=schedule_rules(self.header.experiment, self.header.sweep),
            proposer=Proposer(search.space, search.sampler, search.seed, self.points()),
            budget=search.budget,
        )
        return Leases(self.database, self.study_id, rules, self._clock_ms)

    @property
    def study_id(self) -> int:
        """Optuna's id of the study. Raises InputError if there is no such study."""
        return self.header.study_id

    @property
    def header(self) -> StudyHeader:
        """What does not change while this process works on the study. Raises InputError if there is no such study."""
        if self._header is None:
            self._header = self._read_header()
        return self._header

    def parent_run_id(self) -> str | None:
        """The sweep's run in the tracking store; None before there is one."""
        run_id: str | None = self._row().parent_run_id
        return run_id

    def keep_parent_run_id(self, run_id: str, instead_of: str | None) -> str:
        """Make a run the sweep's if its run is still `instead_of`; return the sweep's run.

        Processes that offer runs at the same time all get the first one.
        """
        where = studies.c.study_id == self.study_id
        with self.database.writing() as connection:
            unchanged = studies.c.parent_run_id.is_not_distinct_from(instead_of)
            connection.execute(sa.update(studies).where(where, unchanged).values(parent_run_id=run_id))
            return str(connection.execute(sa.select(studies.c.parent_run_id).where(where)).scalar_one())

    def set_stopped(self, is_stopped: bool) -> None:
        """Store whether a user stopped the groups; all supervisors read it.

        Resuming removes the last refusal, and resets the counters of lone ends.
        """
        with self.database.writing() as connection:
            optuna_tables.set_attribute(connection, self.study_id, STOPPED, is_stopped)
            if not is_stopped:
                optuna_tables.set_attribute(connection, self.study_id, REFUSED, None)
                optuna_tables.remove_attributes(connection, self.study_id, f"{_ALONE}:")

    def is_stopped(self) -> bool:
        """Whether a user stopped the groups, and the study was not resumed since."""
        return bool(self._attribute(STOPPED))

    def set_refusal(self, error: InputError) -> None:
        """Store why a worker cannot train this study, for the orchestrator and for restarted workers."""
        refused = {"place": error.place, "expected": error.expected, "found": error.found, "remedy": error.remedy}
        self._set_attribute(REFUSED, refused)

    def refusal(self) -> InputError | None:
        """Why a worker cannot train this study; None if none refused since the last resume."""
        refused = self._attribute(REFUSED)
        return InputError(**refused) if refused else None

    def points(self) -> list[dict[str, Any]]:
        """What its first trials try, as `create` stored it."""
        return self._attribute(_POINTS) or []

    def set_not_packed(self, reason: str) -> None:
        """Store why models train one after another although several could train as one."""
        self._set_attribute(_NOT_PACKED, reason)

    def not_packed(self) -> str | None:
        """The reason stored by `set_not_packed`, if any."""
        reason: str | None = self._attribute(_NOT_PACKED)
        return reason

    def count_lone_end(self, group: str, node: int) -> int:
        """Count that a node ends because it lost its group; return how often since the last scored fold.

        Platforms restart nodes without limit, even while no orchestrator runs.
        """
        key = f"{_ALONE}:{group}:{node}"
        with self.database.writing() as connection:
            query = sa.select(sa.func.count()).select_from(folds).where(folds.c.study_id == self.study_id)
            scored = int(connection.execute(query).scalar_one())
            before = optuna_tables.attribute(connection, self.study_id, key) or {}
            count = 1 + (before["count"] if before.get("folds") == scored else 0)
            optuna_tables.set_attribute(connection, self.study_id, key, {"folds": scored, "count": count})
        return count

    def target(self) -> int:
        """How many trials the study is to have."""
        return int(self._row().target)

    # Trials

    def counts(self) -> dict[str, int]:
        """Trials by state, and `all` of them."""
        with self.database.reading() as connection:
            found = optuna_tables.counts_by_state(connection, self.study_id).get(self.study_id, {})
        counts = {name: found.get(state, 0) for state, name in optuna_tables.STATES.items()}
        return counts | {"all": sum(counts.values())}

    def trial(self, number: int) -> TrialRecord:
        """One trial as it stands."""
        return self.trials([number])[0]

    def trials(self, numbers: Collection[int] | None = None) -> tuple[TrialRecord, ...]:
        """All trials, or those with these numbers, read at one moment, in order."""
        with self.database.reading() as connection:
            return self._records(connection, numbers)

    def ended(self, known: Collection[int]) -> tuple[TrialRecord, ...]:
        """Trials that have ended and are not `known`, in order."""
        with self.database.reading() as connection:
            where = (tasks.c.study_id == self.study_id) & (tasks.c.kind == "trial")
            query = sa.select(tasks.c.number).where(where, tasks.c.state.in_(["done", "failed"]))
            new = set(connection.execute(query).scalars()) - set(known)
            return self._records(connection, new) if new else ()

    def out_of_fold(self, number: int) -> dict[int, bytes]:
        """What a trial's folds kept for its refit, by fold; empty for pruned trials."""
        if not self.database.has_out_of_fold:
            return {}
        with self.database.reading() as connection:
            trial_id = optuna_tables.trial_id_of(connection, self.study_id, number)
            query = sa.select(out_of_fold.c.fold, out_of_fold.c.outputs).where(out_of_fold.c.trial_id == trial_id)
            return {row.fold: bytes(row.outputs) for row in connection.execute(query)}

    def failure(self, number: int) -> Failure | None:
        """The log of a failed trial; None if the trial did not fail by itself."""
        with self.database.reading() as connection:
            row = self._tasks_by_number(connection, [number]).get(number, {}).get("trial")
        if row is None or row.state != "failed" or not row.result:
            return None
        detail = json.loads(row.result)
        return Failure(tuple(detail["tail"]), detail["log"])

    def refits(self) -> tuple[RefitResult, ...]:
        """The results of all refits that have ended, by trial."""
        with self.database.reading() as connection:
            where = (tasks.c.study_id == self.study_id) & (tasks.c.kind == "refit")
            query = sa.select(tasks).where(where, tasks.c.state.in_(["done", "failed"])).order_by(tasks.c.number)
            rows = connection.execute(query).all()
        return tuple(RefitResult(row.number, _result(row).get("version"), row.reason) for row in rows)

    def refits_left(self) -> tuple[int, ...]:
        """See `schedule.refits_left`."""
        return self.leases().refits_left()

    def is_done(self) -> bool:
        """Whether the report over all trials was written, even if the tracking store does not have it.

        Refits may be left; the report is written again after them.
        """
        report = self._report()
        return report is not None and report.ended_at_ms is not None

    def is_finished(self) -> bool:
        """Whether the report was written and all refits have ended."""
        report = self._report()
        return report is not None and report.state in ("done", "failed") and not self.refits_left()

    def is_told(self) -> bool:
        """Whether the tracking store has every trial's last state and the report."""
        report = self._report()
        return report is not None and report.state == "done" and not self.untracked()

    def fold_curves(self) -> tuple[FoldCurves, ...]:
        """The learning curves of all folds that have any, also of those in which a trial was pruned."""
        is_its_fold = (folds.c.trial_id == curves.c.trial_id) & (folds.c.fold == curves.c.fold)
        is_its_task = (tasks.c.trial_id == curves.c.trial_id) & (tasks.c.kind == "trial")
        query = sa.select(tasks.c.number, curves.c.fold, curves.c.points, folds.c.fold.label("scored"))
        query = query.select_from(curves.join(tasks, is_its_task).outerjoin(folds, is_its_fold))
        with self.database.reading() as connection:
            rows = connection.execute(query.where(curves.c.study_id == self.study_id)).all()
        return tuple(FoldCurves(row.number, row.fold, json.loads(row.points), row.scored is not None) for row in rows)

    # What the tracking store knows

    def keep_run_ids(self, offered: Mapping[int, str], instead_of: str | None = None) -> Mapping[int, str]:
        """Make runs the trials' (by number) if their run is still `instead_of`; return the run that each trial has now.

        Processes that offer runs at the same time all get the first ones.
        """
        where = (tasks.c.study_id == self.study_id) & (tasks.c.kind == "trial")
        is_it = (tasks.c.number == sa.bindparam("at")) & tasks.c.run_id.is_not_distinct_from(instead_of)
        with self.database.writing() as connection:
            rows = [{"at": number, "run": run_id} for number, run_id in offered.items()]
            connection.execute(sa.update(tasks).where(where, is_it).values(run_id=sa.bindparam("run")), rows)
            query = sa.select(tasks.c.number, tasks.c.run_id).where(where, tasks.c.number.in_(offered))
            return {row.number: row.run_id for row in connection.execute(query)}

    def set_tracked(self, records: Sequence[TrialRecord]) -> None:
        """Store that the tracking store has these trials, except those that have changed since."""
        if not records:
            return
        with self.database.writing() as connection:
            current = {each.number: each for each in self._records(connection, [each.number for each in records])}
            held = [each.number for each in records if current.get(each.number) == each]
            where = (tasks.c.study_id == self.study_id) & tasks.c.number.in_(held) & (tasks.c.kind != "report")
            connection.execute(sa.update(tasks).where(where).values(tracked=True))

    def unsent(self, groups: Collection[str] | None) -> tuple[Unsent, ...]:
        """Trials whose present state the tracking store may lack, in order.

        Args:
            groups: only trials of these worker groups and of none; None: all trials.
        """
        scored = sa.select(sa.func.count()).where(folds.c.trial_id == tasks.c.trial_id).scalar_subquery()
        query = sa.select(tasks.c.number, tasks.c.state, tasks.c.attempt, tasks.c.started_at_ms, scored.label("folds"))
        is_begun_refit = (tasks.c.kind == "refit") & tasks.c.state.in_(["done", "failed"])
        query = query.where(
            tasks.c.study_id == self.study_id,
            tasks.c.tracked.is_(False),
            (tasks.c.kind == "trial") | is_begun_refit,
        )
        if groups is not None:
            query = query.where(tasks.c.grp.in_(groups) | tasks.c.grp.is_(None))
        with self.database.reading() as connection:
            rows = connection.execute(query.order_by(tasks.c.number)).all()
        return tuple(
            Unsent(row.number, row.state in ("done", "failed"), row.attempt, row.folds, row.started_at_ms or 0)
            for row in rows
        )

    def untracked(self) -> list[int]:
        """Numbers of ended trials whose last state the tracking store may lack."""
        with self.database.reading() as connection:
            where = (tasks.c.study_id == self.study_id) & tasks.c.kind.in_(["trial", "refit"])
            ended = tasks.c.state.in_(["done", "failed"]) & tasks.c.tracked.is_(False)
            return sorted(set(connection.execute(sa.select(tasks.c.number).where(where, ended)).scalars()))

    def reopen_report(self) -> None:
        """Have the report written again, because the tracking store did not get everything in time."""
        target = self.target()
        where = (tasks.c.study_id == self.study_id) & (tasks.c.kind == "report") & (tasks.c.number == target)
        with self.database.writing() as connection:
            connection.execute(sa.update(tasks).where(where).values(state="waiting", ended_at_ms=None))

    # Workers

    def hear(self, owner: str, group: str, host: str, status: WorkerStatus, ttl_s: float) -> None:
        """Store a worker's status; the worker counts as alive for `ttl_s` (0: it has ended)."""
        with self.database.writing() as connection:
            values = {
                "study_id": self.study_id,
                "grp": group,
                "host": host,
                "status": json.dumps(dataclasses.asdict(status)),
                "expires_at": self.database.now(connection) + ttl_s if ttl_s > 0 else 0.0,
            }
            changed = connection.execute(sa.update(workers).where(workers.c.owner == owner).values(values))
            if changed.rowcount == 0:
                connection.execute(sa.insert(workers).values(values | {"owner": owner}))

    def workers(self) -> tuple[WorkerLife, ...]:
        """The latest life of every group, by group."""
        with self.database.reading() as connection:
            now = self.database.now(connection)
            query = sa.select(workers).where(workers.c.study_id == self.study_id).order_by(workers.c.expires_at)
            rows = connection.execute(query).all()
        latest = {
            row.grp: WorkerLife(
                row.owner, row.grp, row.host, WorkerStatus(**json.loads(row.status)), row.expires_at >= now
            )
            for row in rows
        }
        return tuple(latest[group] for group in sorted(latest))

    # The study at one moment

    def status(self, *, started_at_ms: int, folds_before: int = 0) -> StudyStatus:
        """The sweep's progress; see `status_query.read_status`."""
        header = self.header
        with self.database.reading() as connection:
            status = read_status(
                connection,
                self.database,
                header,
                started_at_ms=started_at_ms,
                now_ms=self._clock_ms(),
                folds_before=folds_before,
            )
        if status is None:
            raise self._no_such_study()
        return status

    def view(self) -> StudyView:
        """The whole study, for the report."""
        header, trials = self.header, self.trials()
        values = {t.number: t.value for t in trials if t.state == "complete" and t.value is not None}
        return StudyView(
            sweep=header.sweep,
            trials=trials,
            space=header.experiment.model_dump(mode="json", by_alias=True)["search"]["space"],
            winner=_best(values, header.sweep.goal),
            generated_at_ms=self._clock_ms(),
            incidents=self.incidents(),
            target=self.target(),
            ended_by=self._ended_by_in_words(trials),
        )

    def _ended_by_in_words(self, trials: Sequence[TrialRecord]) -> str | None:
        """None while trials are left, and if they ended the study."""
        by = self.ended_by()
        is_over = len(trials) >= self.target() and all(trial.ended_at_ms is not None for trial in trials)
        return ENDINGS[by] if is_over and by != "trials" else None

    def incidents(self) -> tuple[Incident, ...]:
        """Lost attempts at trials, in order."""
        with self.database.reading() as connection:
            where = (incidents.c.study_id == self.study_id) & (incidents.c.kind == "trial")
            rows = connection.execute(sa.select(incidents).where(where).order_by(incidents.c.incident_id)).all()
        return tuple(
            Incident(row.number, row.attempt, row.worker, row.what, row.at_ms, row.fold_started_at_ms, row.fold)
            for row in rows
        )

    # Inside

    def _attribute(self, key: str) -> Any:
        """An attribute of Optuna's study."""
        with self.database.reading() as connection:
            return optuna_tables.attribute(connection, self.study_id, key)

    def _set_attribute(self, key: str, value: Any) -> None:
        with self.database.writing() as connection:
            optuna_tables.set_attribute(connection, self.study_id, key, value)

    def _with_code(
        self, connection: Connection, study_id: int, kept: dict[str, Any], code: Mapping[str, str] | None
    ) -> str:
        """The sweep's record as JSON, with the new code; trials without a digest get that of the code so far."""
        before = digest_of_code(kept.get("code") or {})
        if code is None or dict(code) == kept.get("code"):
            return json.dumps(kept)
        if before:
            unmarked = optuna_tables.trials_without_attribute(connection, study_id, TRIAL_CODE)
            optuna_tables.add_trial_attributes(connection, {of: {TRIAL_CODE: before} for of in unmarked})
        return json.dumps(kept | {"code": dict(code)})

    def _row(self) -> sa.Row[Any]:
        with self.database.reading() as connection:
            row = connection.execute(sa.select(studies).where(studies.c.study_id == self.study_id)).one_or_none()
        if row is None:
            raise self._no_such_study()
        return row

    def _read_header(self) -> StudyHeader:
        with self.database.reading() as connection:
            study_id = optuna_tables.study_id_of(connection, self.name)
            row = connection.execute(sa.select(studies).where(studies.c.study_id == study_id)).one_or_none()
        if row is None:
            raise self._no_such_study()
        experiment, sweep = Experiment.model_validate_json(row.experiment), SweepRecord(**json.loads(row.sweep))
        return StudyHeader(row.study_id, self.name, experiment, sweep, code=digest_of_code(sweep.code or {}))

    def _no_such_study(self) -> InputError:
        known = ", ".join(study_names(self.database)) or "none"
        return InputError(
            f"study {self.name!r}",
            expected="a study that was started",
            found=f"only these: {known}",
            remedy=f"Run `{next_command('train', config=...)}` with its experiment file first, or correct the name.",
        )

    def _records(self, connection: Connection, numbers: Collection[int] | None) -> tuple[TrialRecord, ...]:
        space, code = self.header.experiment.search.space, self.header.code
        trials = optuna_tables.trial_rows(self.study_id, TRIAL_CODE)
        query = sa.select(trials).order_by(trials.c.number)
        found = connection.execute(query if numbers is None else query.where(trials.c.number.in_(numbers))).all()
        ids = [row.trial_id for row in found]
        params = optuna_tables.read_params(connection, ids)
        by_number = self._tasks_by_number(connection, numbers)
        scored = self._folds_by_trial(connection, None if numbers is None else ids)
        drawn = self._curves_by_trial(connection, None if numbers is None else ids)
        return tuple(
            _record(
                self.name,
                row,
                by_number.get(row.number, {}),
                scored[row.trial_id],
                drawn[row.trial_id],
                decode(space, params.get(row.trial_id, ({}, {}))[0]),
                code,
            )
            for row in found
        )

    def _tasks_by_number(
        self, connection: Connection, numbers: Collection[int] | None
    ) -> dict[int, dict[str, sa.Row[Any]]]:
        query = sa.select(tasks).where(tasks.c.study_id == self.study_id)
        if numbers is not None:
            query = query.where(tasks.c.number.in_(numbers))
        found: dict[int, dict[str, sa.Row[Any]]] = defaultdict(dict)
        for row in connection.execute(query):
            found[row.number][row.kind] = row
        return found

    def _folds_by_trial(self, connection: Connection, trial_ids: list[int] | None) -> dict[int, list[FoldRecord]]:
        query = sa.select(folds).where(folds.c.study_id == self.study_id).order_by(folds.c.fold)
        if trial_ids is not None:
            query = query.where(folds.c.trial_id.in_(trial_ids))
        found: dict[int, list[FoldRecord]] = defaultdict(list)
        for row in connection.execute(query):
            own = {each.name: getattr(row, each.name) for each in dataclasses.fields(FoldRecord)}
            found[row.trial_id].append(FoldRecord(**own | {"metrics": json.loads(row.metrics)}))
        return found

    def _curves_by_trial(self, connection: Connection, trial_ids: list[int] | None) -> Mapping[int, dict[int, Curves]]:
        found: dict[int, dict[int, Curves]] = defaultdict(dict)
        if not self.database.has_curves:
            return found
        query = sa.select(curves).where(curves.c.study_id == self.study_id).order_by(curves.c.fold)
        if trial_ids is not None:
            query = query.where(curves.c.trial_id.in_(trial_ids))
        for row in connection.execute(query):
            points = json.loads(row.points)
            found[row.trial_id][row.fold] = {name: tuple(map(tuple, each)) for name, each in points.items()}
        return found

    def _report(self) -> sa.Row[Any] | None:
        with self.database.reading() as connection:
            where = (tasks.c.study_id == self.study_id) & (tasks.c.kind == "report") & (tasks.c.number == self.target())
            return connection.execute(sa.select(tasks).where(where)).one_or_none()


def study_names(database: Database) -> list[str]:
    """Names of the studies in a database, oldest first."""
    if not sa.inspect(database.engine).has_table(studies.name):
        return []
    with database.reading() as connection:
        ours = set(connection.execute(sa.select(studies.c.study_id)).scalars())
        return [name for study_id, name in optuna_tables.study_names(connection).items() if study_id in ours]


def _record(
    study: str,
    trial: sa.Row[Any],
    of_trial: Mapping[str, sa.Row[Any]],
    scored: list[FoldRecord],
    drawn: Mapping[int, Curves],
    params: Mapping[str, Any],
    code: str,
) -> TrialRecord:
    task, refit = of_trial.get("trial"), of_trial.get("refit")
    refitted = _result(refit) if refit is not None else {}
    own_code = json.loads(trial.attribute_json) if trial.attribute_json is not None else ""
    return TrialRecord(
        study=study,
        number=trial.number,
        state=optuna_tables.STATES[TrialState[trial.state]],
        params=params,
        folds=tuple(scored),
        value=trial.value,
        attempts=getattr(task, "attempt", 0),
        reason=getattr(task, "reason", None),
        started_at_ms=getattr(task, "started_at_ms", 0),
        ended_at_ms=getattr(task, "ended_at_ms", None),
        run_id=getattr(task, "run_id", None),
        holdout=refitted.get("metrics", {}),
        calibration=refitted.get("calibration", {}),
        holdout_at_ms=refit.ended_at_ms if refit is not None and refitted else None,
        code=own_code,
        has_other_code=bool(own_code) and own_code != code,
        curves=drawn,
    )


def schedule_rules(experiment: Experiment, sweep: SweepRecord) -> ScheduleRules:
    """An experiment's rules for the order of work.

    The pruner `auto` is racing, except for time series: racing assumes that all folds are alike.
    """
    pruner, sampler = experiment.search.pruner, experiment.search.sampler
    is_in_time = "time_series" in (sweep.splitter, experiment.cross_validation.splitter) or experiment.data.time
    automatic: Literal["off", "racing"] = "off" if is_in_time else "racing"
    # A pruner that judges epochs leaves the folds to racing.
    by_fold = "auto" if pruner.every == "epoch" else pruner.type
    startup = sampler.options.get("n_startup_trials")
    is_own = by_fold in OWN_PRUNERS and (by_fold != "median" or not pruner.options)
    return ScheduleRules(
        folds=sweep.folds,
        metric=sweep.metric,
        goal=sweep.goal,
        pruner=automatic if by_fold == "auto" else _PRUNERS[by_fold] if is_own else "optuna",
        racing_threshold=pruner.threshold,
        refit_top=experiment.refit.top,
        workers=experiment.execution.workers,
        is_learning=sampler.type not in _NOT_LEARNING,
        startup=startup if isinstance(startup, int) else STARTUP_TRIALS,
        judge=FoldPruner(pruner, sweep.goal, sweep.folds) if not is_own else None,
    )


def _result(task: sa.Row[Any]) -> dict[str, Any]:
    return json.loads(task.result) if task.result else {}


def _best(values: Mapping[int, float], goal: str) -> int | None:
    """The trial with the best value, of equal ones the first."""
    sign = -1.0 if goal == "maximize" else 1.0
    return min(values, key=lambda number: (sign * values[number], number), default=None)

"""Studies for tests: made in a fresh SQLite file, with as little as each test needs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from winnow.config.experiment import Experiment
from winnow.study.database import Database
from winnow.study.leases import FailedFold, Failure, Lease, LeaseLostError, LeaseRules, Leases, ScoredFold
from winnow.study.schedule import FinishTrial, Job, ScheduleRules, ScheduleView, next_jobs
from winnow.study.space import Proposer
from winnow.study.store import StudyStore
from winnow.tracking.records import FoldRecord, SweepRecord

SPACE = {"lr": {"float": [1e-4, 1.0], "log": True}, "hidden": {"choice": [[64], [128, 64]]}}


def experiment(pack: Any = "auto", **search: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "a-study",
            "data": {"source": "sklearn:breast_cancer"},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": SPACE, "trials": 5, "metric": {"name": "f1"}} | search,
            "execution": {"pack": pack},
        }
    )


def sweep(**changes: Any) -> SweepRecord:
    record = SweepRecord(
        study="a-study",
        metric="f1",
        goal="maximize",
        experiment={},
        data_name="breast_cancer",
        data_rows=569,
        data_sha256="a" * 64,
        data_source="sklearn:breast_cancer",
        task="classification",
        folds=3,
        seed=0,
        environment={},
        started_at_ms=1,
    )
    return dataclasses.replace(record, **changes)


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'studies.db'}"


def make_study(folder: Path, **search: Any) -> StudyStore:
    return make_study_in(url(folder), **search)


def make_study_in(database_url: str, **search: Any) -> StudyStore:
    store = StudyStore(Database(database_url, create=True), "a-study", clock_ms=lambda: 1000)
    store.create(experiment(**search), sweep())
    return store


@contextlib.contextmanager
def statements(store: StudyStore) -> Iterator[list[str]]:
    """The statements that the study's database gets meanwhile, without the beginnings of transactions."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    sa.event.listen(store.database.engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(store.database.engine, "before_cursor_execute", note)


def leases_of(
    store: StudyStore, *, ttl_s: float = 60.0, retries: int = 2, refit_top: int = 2, pruner: Any = "off"
) -> Leases:
    schedule = ScheduleRules(folds=3, metric="f1", goal="maximize", pruner=pruner, refit_top=refit_top)
    search = store.header.experiment.search
    proposer = Proposer(search.space, search.sampler, search.seed)
    rules = LeaseRules(ttl_s=ttl_s, retries=retries, schedule=schedule, proposer=proposer)
    return Leases(store.database, store.study_id, rules, clock_ms=lambda: 1000)


def one_job(view: ScheduleView) -> tuple[Job, ...]:
    return next_jobs(view)


def claim(leases: Leases, owner: str = "w0/1") -> Lease:
    (lease,) = leases.claim(owner, owner.split("/")[0], one_job).leases
    return lease


def fold(number: int, score: float = 0.5) -> FoldRecord:
    return FoldRecord(number, {"f1": score, "loss": 1.0}, 3, 0.1, 10 * number, 10 * number + 9, "w0")


def record_fold(leases: Leases, lease: Lease, record: FoldRecord, score: float) -> None:
    """Store one fold. Raises LeaseLostError."""
    if leases.record([ScoredFold(lease, record, score)]):
        raise LeaseLostError(f"trial {lease.number}")


def finish(
    leases: Leases, lease: Lease, end: Literal["complete", "pruned"], value: float, reason: str | None = None
) -> None:
    """End a trial that is held, whatever a schedule would decide."""

    def decide(view: ScheduleView) -> tuple[Job, ...]:
        is_held = view.trials[lease.number].owner == lease.owner
        return (FinishTrial(lease.number, end, value, reason),) if is_held else ()

    leases.claim(lease.owner, lease.group, decide)


def fail(leases: Leases, lease: Lease, reason: str, detail: Failure | None = None) -> None:
    """Have a fold of a trial fail. Raises LeaseLostError."""
    if leases.record([FailedFold(lease, reason, detail)]):
        raise LeaseLostError(f"trial {lease.number}")


def complete(leases: Leases, lease: Lease, score: float) -> None:
    for number in range(3):
        record_fold(leases, lease, fold(number, score), score)
    finish(leases, lease, "complete", score)

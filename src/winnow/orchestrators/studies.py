"""List the studies in the storage, and delete one."""

from __future__ import annotations

import difflib
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.disk import disk_fault, home_of
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.platforms.executor import Executor
from winnow.study.catalog import StudyBusyError, StudySummary, busy_workers, delete_study, summaries
from winnow.study.database import Database, NoStudiesError
from winnow.study.store import StudyStore
from winnow.tracking.set_apart import runs_of, set_apart
from winnow.tracking.tracker import TrackingUnavailableError


@dataclass(frozen=True)
class ListedStudy:
    """A study and where its workers are.

    Attributes:
        summary: the study itself.
        at_work: number of running worker groups, by platform. Those of other machines are only in `summary.heard`.
    """

    summary: StudySummary
    at_work: Mapping[str, int]


@dataclass(frozen=True)
class Deletion:
    """What is deleted with a study, and what MLflow keeps.

    Attributes:
        trials: number of its trials.
        folder: the folder of its logs and its report; None if there is none.
        runs: number of its runs. MLflow keeps them, marked as those of a deleted study.
    """

    study: str
    trials: int
    folder: Path | None
    runs: int


def list_studies(settings: Settings, executors: Mapping[str, Executor]) -> tuple[ListedStudy, ...]:
    """All studies in the storage, oldest first."""
    try:
        found = summaries(Database(settings.storage_url))
    except NoStudiesError:
        return ()
    at_work: dict[str, Counter[str]] = {summary.name: Counter() for summary in found}
    for platform, executor in executors.items():
        for group in executor.groups() if found else ():
            if group.study in at_work and not group.state.is_over:
                at_work[group.study][platform] += 1
    return tuple(
        ListedStudy(replace(one, state="in work") if at_work[one.name] else one, dict(at_work[one.name]))
        for one in found
    )


def plan_deletion(study: str, settings: Settings, executors: Mapping[str, Executor]) -> Deletion:
    """What `delete` would remove. Raises InputError if `delete` would."""
    store = _open(study, settings)
    groups = [group for executor in executors.values() for group in executor.groups(study)]
    running = {group.name for group in groups if not group.state.is_over}
    _refuse_busy(study, sorted(running | set(busy_workers(store.database, store.study_id))))
    with _tracking_is_needed(study):
        runs = runs_of(settings.tracking_uri, study)
    folder = settings.home / "studies" / study
    return Deletion(study, store.counts()["all"], folder if folder.is_dir() else None, runs)


def delete(study: str, settings: Settings, executors: Mapping[str, Executor]) -> Deletion:
    """Mark a study's runs as deleted, then remove its trials, logs and report. If this fails, call it again.

    Registered models and deployments stay. Raises InputError if its workers are running, a store does not answer, or
    the folder cannot be removed.
    """
    deletion, store = plan_deletion(study, settings, executors), _open(study, settings)
    with _tracking_is_needed(study):
        set_apart(settings.tracking_uri, study, time.time_ns() // 1_000_000)
    # Finished containers and pods still have logs, which a later command would copy here.
    for executor in executors.values():
        executor.clear(study)
    try:
        delete_study(store.database, store.study_id)
    except StudyBusyError as error:
        _refuse_busy(study, error.args[0])
    finally:
        store.database.close()
    folder = settings.home / "studies" / study
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return deletion
    except OSError as error:
        raise disk_fault(error, home_of(), folder) or InputError(
            str(folder),
            expected="a folder that can be removed, as the study itself already was",
            found=error.strerror or str(error),
            remedy="Remove it manually.",
        ) from error
    return deletion


def _open(study: str, settings: Settings) -> StudyStore:
    """The study. Raises InputError if there is none."""
    try:
        database = Database(settings.storage_url)
        names = [summary.name for summary in summaries(database)]
    except NoStudiesError:
        names = []
    if study in names:
        return StudyStore(database, study)
    nearest = difflib.get_close_matches(study, names, n=3, cutoff=0.5)
    listing = next_command("studies")
    raise InputError(
        f"study {study!r}",
        expected="a study in the storage",
        found=f"none with that name among {len(names)}",
        remedy=f"Did you mean {' or '.join(nearest)}? `{listing}` lists all." if nearest else f"`{listing}` lists all.",
    )


def _refuse_busy(study: str, workers: Sequence[str]) -> None:
    if workers:
        raise InputError(
            f"study {study!r}",
            expected="no running workers",
            found=", ".join(workers),
            remedy=f"Stop them first: {next_command('cancel', study=study)}. A worker that died counts as running "
            "until its lease expires.",
        )


@contextmanager
def _tracking_is_needed(study: str) -> Iterator[None]:
    try:
        yield
    except TrackingUnavailableError as error:
        raise InputError(
            f"study {study!r}",
            expected="MLflow's tracking store to answer, because the study's runs are marked there",
            found=str(error),
            remedy="Start it and try again. The study was not deleted.",
        ) from error

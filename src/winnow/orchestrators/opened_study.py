"""Find or create the study of a sweep, and describe the sweep for its runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.config.addresses import with_driver
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.file_lock import locked
from winnow.config.grid import trials_wanted
from winnow.config.next_command import next_command
from winnow.config.private import make_home
from winnow.config.settings import Settings
from winnow.config.user_code import folder_of_code
from winnow.orchestrators.environment import describe_environment
from winnow.study.database import Database, NoStudiesError
from winnow.study.optuna_tables import Goal
from winnow.study.store import StudyStore
from winnow.study.warm_start import points_by_hand, points_of_file, points_of_study
from winnow.tracking.records import SweepRecord
from winnow.tracking.run_context import run_context
from winnow.tracking.store import check
from winnow.training.fork_messages import Checked

ROOM_MIB = 16
"""Free disk space for a study's two databases and first logs, with a margin."""


def describe_sweep(
    experiment: Experiment,
    study: str,
    checked: Checked,
    code: Mapping[str, str] | None,
    folder: Path | None = None,
    home: Path | None = None,
    lineage: Mapping[str, str] | None = None,
) -> SweepRecord:
    """What the runs record about a sweep.

    Args:
        code: sha256 of each file of the user's code.
        folder: folder of the experiment file. Its commit is recorded if the experiment uses no code of your own.
        home: winnow's own folder.
    """
    code_folder = folder_of_code(experiment, Path.cwd()) or folder or Path.cwd()
    return SweepRecord(
        study=study,
        metric=checked.objective,
        goal=checked.goal,
        experiment=experiment.without_secrets().model_dump(mode="json", by_alias=True),
        data_name=checked.data_name,
        data_rows=checked.data_rows,
        data_sha256=checked.data_sha256,
        data_source=experiment.data.shown_source,
        task=checked.task,
        folds=checked.folds,
        seed=experiment.search.seed,
        environment=describe_environment(code_folder, home),
        started_at_ms=time.time_ns() // 1_000_000,
        tags={**experiment.tags, **run_context()},
        splitter=checked.splitter,
        code=code,
        lineage=lineage or {},
    )


def warm_points(experiment: Experiment, settings: Settings, metric: str, goal: Goal) -> tuple[Mapping[str, Any], ...]:
    """The points that a new study tries first. Raises InputError for a point outside the space or a missing source."""
    search = experiment.search
    start, trials = search.warm_start, trials_wanted(search)
    if start is None:
        return ()
    most = min(start.top, trials)
    if start.points:
        return points_by_hand(search.space, start.points, trials)
    if start.csv is not None:
        return points_of_file(search.space, Path(start.csv), most, metric, goal)
    assert start.study is not None, "the file names one of the three"
    other = find_study(settings, start.study)
    if other is None:
        raise InputError(
            "search.warm_start.study",
            expected="a study that was started, in the same database",
            found=repr(start.study),
            remedy=f"Correct the name; {next_command('studies')} lists them.",
        )
    return points_of_study(search.space, start.study, other.trials(), most, other.header.sweep.goal)


def find_study(settings: Settings, study: str) -> StudyStore | None:
    """The study, or None if it does not exist. Creates nothing.

    Raises InputError if its database cannot be opened, or is the same as MLflow's.
    """
    if with_driver(settings.storage_url) == with_driver(settings.tracking_uri):
        raise InputError(
            "WINNOW_STORAGE",
            expected="a different database than MLflow's, whose tables have the same names",
            found="the same one",
            remedy="Use a separate database for each.",
        )
    file = settings.storage_url.removeprefix("sqlite:///")
    if file != settings.storage_url and not Path(file).is_file():
        return None
    try:
        store = StudyStore(Database(settings.storage_url), study)
    except NoStudiesError:
        return None
    return store if store.exists() else None


def open_study(
    experiment: Experiment,
    study: str,
    settings: Settings,
    sweep: SweepRecord,
    points: Sequence[Mapping[str, Any]] = (),
) -> StudyStore:
    """Create the study, or open it if it exists. Call this after all checks have passed.

    `points`: what a new study's first trials try. Raises InputError if the study has another definition or other data,
    a store cannot be used, or the disk is full.
    """
    existing = find_study(settings, study)
    if existing is not None:
        existing.check(experiment, sweep)
    _check_room(settings.home)
    check(settings.tracking_uri)
    make_home(settings.home)
    with locked(settings.home / "studies" / study / "open.lock"):
        store = StudyStore(Database(settings.storage_url, create=True), study)
        store.create(experiment, sweep, points)
        store.set_stopped(False)
        return store


def is_finished(store: StudyStore) -> bool:
    """Whether nothing is left to do. If MLflow missed the end of a finished study, the report is written again."""
    if not store.is_finished():
        return False
    if not store.is_told():
        store.reopen_report()
        return False
    return True


def _check_room(home: Path) -> None:
    """Refuse a disk that would be full before the first trial. Raises InputError."""
    place = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free_mib = shutil.disk_usage(place).free / 2**20
    if free_mib < ROOM_MIB:
        raise InputError(
            f"the disk of {home}",
            expected=f"at least {ROOM_MIB} MiB of free space for a study",
            found=f"{free_mib:.1f} MiB",
            remedy="Free some space, or set WINNOW_HOME to a folder on another disk.",
        )

"""The sweep, from an experiment file to refitted models: check, make the study, start its groups, follow them.

The orchestrator holds nothing that the sweep needs to go on: the groups work on when it is killed or its terminal is
closed, and starting it again attaches to them. It restarts groups that die, hands back what they held, and shows what
happens (`supervise.py`).
"""

from __future__ import annotations

import functools
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.addresses import with_driver
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.file_lock import locked
from winnow.config.inheritance import as_in_a_group
from winnow.config.next_command import next_command, next_flag
from winnow.config.private import make_home
from winnow.config.settings import Settings
from winnow.config.user_code import changed_files, code_of, folder_of_code
from winnow.orchestrators.environment import describe_environment
from winnow.orchestrators.groups import Site, find_secrets, gpu_sharing, plan_groups
from winnow.orchestrators.preflight import DataFile, data_file
from winnow.orchestrators.progress import ProgressView
from winnow.orchestrators.supervise import SweepFailedError, SweepSupervisor, stop
from winnow.orchestrators.tiers import Tier
from winnow.platforms.executor import Executor, GroupSpec
from winnow.study.database import Database
from winnow.study.projector import Projector, reconcile
from winnow.study.store import RefitResult, StudyStore
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.records import SweepRecord, TrialRecord
from winnow.tracking.store import prepare
from winnow.tracking.tracker import Tracker, TrackingUnavailableError
from winnow.training.preflight import check
from winnow.training.preparation import Prepared

ROOM_MIB = 16
"""Disk that a study's two databases and first logs take, with some to spare."""


@dataclass(frozen=True)
class SweepResult:
    """A study that is done.

    Attributes:
        study: the study's name.
        was_done: nothing was left to do.
        trials: number of trials, in all states.
        counts: number of trials, by state.
        metric: what trials are compared by.
        report: the study's report, an HTML page.
        best: the complete trial with the best mean, None where there is none.
        refits: what became of the best trials' models.
    """

    study: str
    was_done: bool
    trials: int
    counts: Mapping[str, int]
    best: TrialRecord | None
    metric: str
    refits: tuple[RefitResult, ...]
    report: Path


@dataclass(frozen=True)
class Permission:
    """What a person has allowed beside training what is left.

    Attributes:
        changed_code: go on with other code than the study's trials were trained with.
        retry: train failed trials again.
    """

    changed_code: bool = False
    retry: bool = False


def describe_sweep(
    experiment: Experiment, study: str, checked: Prepared, folder: Path | None = None, home: Path | None = None
) -> SweepRecord:
    """The facts of a sweep, for its runs.

    Args:
        folder: of the experiment file, whose commit is named where the experiment names no code of a person's own.
        home: winnow's own folder.
    """
    code_folder = folder_of_code(experiment, Path.cwd()) or folder or Path.cwd()
    return SweepRecord(
        study=study,
        metric=checked.objective,
        goal=checked.goal,
        experiment=experiment.without_secrets().model_dump(mode="json", by_alias=True),
        data_name=checked.data.name,
        data_rows=checked.data.rows,
        data_sha256=checked.data.sha256,
        data_source=experiment.data.source,
        task=checked.data.task,
        folds=len(checked.folds),
        seed=experiment.search.seed,
        environment=describe_environment(code_folder, home),
        started_at_ms=time.time_ns() // 1_000_000,
        tags=experiment.tags,
        code=code_of(experiment, Path.cwd()),
    )


def plan(experiment: Experiment, study: str, tier: Tier, data: DataFile | None = None) -> tuple[GroupSpec, ...]:
    """The groups that `train` would start. Raises InputError."""
    tier.check(experiment)
    groups = plan_groups(
        study,
        experiment.execution,
        tier.site,
        environment=os.environ,
        data_file=None if data is None else data.named,
    )
    tier.validate(groups)
    return groups


def data_of(experiment: Experiment, tier: Tier) -> DataFile | None:
    """The data file that this tier's groups have to fetch, if there is one."""
    return None if tier.site.sees_files else data_file(experiment)


def train(
    experiment: Experiment,
    study: str,
    settings: Settings,
    tier: Tier,
    view: ProgressView,
    write_report: Callable[[str], Path],
    *,
    folder: Path | None = None,
    permission: Permission = Permission(),
) -> SweepResult:
    """Run a study until it is done, from wherever it stands.

    Args:
        folder: of the experiment file.

    Raises:
        InputError: something in the file or around it has to change. Nothing was created, unless workers found it:
            then they were stopped and their trials handed back.
        SweepFailedError: the groups do not come up.
        SweepStoppedError: somebody else has stopped them.
        KeyboardInterrupt: Ctrl-C; groups of this machine were stopped and their trials handed back, others work on.
    """
    existing = _found(settings, study)
    if existing is not None and permission == Permission() and _is_attached(existing, experiment, tier):
        return _attach(existing, experiment, settings, tier, view, write_report, folder)
    tier.require()
    with view.checking() as show:
        checked = preflight(experiment, tier.site, lambda what: show(f"{study}: checking {what}"))
    data = data_of(experiment, tier)
    groups = plan(experiment, study, tier, data)
    executor = tier.equip()
    sweep = describe_sweep(experiment, study, checked, folder, settings.home)
    if existing is not None:
        existing.check(experiment, sweep)
        sweep = replace(sweep, code=settle_code(existing, experiment, sweep.code or {}, executor, permission))
    if permission.retry:
        view.note(_retry(existing, study, executor))
    store = open_study(experiment, study, settings, sweep)
    was_done = _is_done(store)
    if not was_done:
        if data is not None:
            _store_data(data, settings)
        if (sharing := gpu_sharing(groups)) is not None:
            view.note(f"study {study}: {sharing}")
        _say_where_it_stands(store, executor, view)
        try:
            _run(store, settings, tier.site, executor, groups, view, executor.start)
        except (SweepFailedError, InputError):
            executor.clear(study)
            raise
    return _ended(store, was_done, settings, executor, view, write_report)


def _ended(
    store: StudyStore,
    was_done: bool,
    settings: Settings,
    executor: Executor,
    view: ProgressView,
    write_report: Callable[[str], Path],
) -> SweepResult:
    """Clear up after a sweep that is done, and say what came of it."""
    study = store.name
    executor.clear(study)
    try:
        settle(store, MlflowTracker(settings.tracking_uri))
    except TrackingUnavailableError as error:
        view.note(f"study {study}: its run in MLflow may still be shown as running; the same command ends it ({error})")
    return _result(store, was_done, write_report(study))


def _is_attached(store: StudyStore, experiment: Experiment, tier: Tier) -> bool:
    """Whether the groups that the sweep needs are all at work, so that nothing is started."""
    alive = {group.name for group in tier.executor.groups(store.name) if not group.state.is_over}
    wanted = {f"{tier.site.prefix}{index}" for index in range(experiment.execution.workers)}
    is_as_large = experiment.search.trials <= store.target()
    if is_as_large and store.is_done() and store.is_told():
        # The back-end may report a group as running for a moment after its work has ended.
        return False
    return bool(alive) and (wanted <= alive or (is_as_large and alive < wanted and _needs_no_more(store, len(alive))))


def _needs_no_more(store: StudyStore, workers: int) -> bool:
    """Whether that many workers are enough for the trials that are left."""
    counts = store.counts()
    left = store.target() - counts["complete"] - counts["pruned"] - counts["failed"]
    return max(1, left, store.header.experiment.refit.top) <= workers


def _attach(
    store: StudyStore,
    experiment: Experiment,
    settings: Settings,
    tier: Tier,
    view: ProgressView,
    write_report: Callable[[str], Path],
    folder: Path | None,
) -> SweepResult:
    """Follow groups that are all at work: code, data and image matter only once one has to be started again."""
    study, lock, equipped = store.name, threading.Lock(), list[Executor]()
    data = data_of(experiment, tier)
    site = tier.site
    named = None if data is None else data.named
    groups = plan_groups(study, experiment.execution, site, environment=os.environ, data_file=named)

    def start(group: GroupSpec) -> None:
        status = next((each for each in tier.executor.groups(study) if each.name == group.name), None)
        if status is not None and not status.state.is_over and not status.lacks_nodes:
            return
        with lock:
            if not equipped:
                tier.require()
                checked = preflight(experiment, site)
                plan(experiment, study, tier, data)
                sweep = describe_sweep(experiment, study, checked, folder, settings.home)
                store.check(experiment, sweep)
                store.check_code(sweep.code or {}, "Or stop the workers, and start again with changed code.")
                equipped.append(tier.equip())
        equipped[0].start(group)

    opened = open_study(experiment, study, settings, store.header.sweep)
    _say_where_it_stands(opened, tier.executor, view)
    try:
        _run(opened, settings, site, tier.executor, groups, view, start)
    except (SweepFailedError, InputError):
        tier.executor.clear(study)
        raise
    return _ended(opened, False, settings, tier.executor, view, write_report)


def preflight(experiment: Experiment, site: Site, show: Callable[[str], None] = lambda _what: None) -> Prepared:
    """Check an experiment in the environment that its ranks will have, where they run on this machine.

    Containers and pods may find their data elsewhere than this terminal does, so their variables are not taken here.
    `show` gets the name of each part before it is checked.
    """
    execution = experiment.execution
    if not site.sees_files:
        return check(experiment, has_gpu=site.has_gpu(execution), show=show)
    given = {**execution.env, **find_secrets(execution, os.environ)}
    with as_in_a_group(given) as withheld:
        try:
            return check(experiment, has_gpu=site.has_gpu(execution), show=show)
        except InputError as error:
            missed = error.__cause__.args[:1] if isinstance(error.__cause__, KeyError) else ()
            if not withheld.intersection(missed):
                raise
            raise InputError(
                error.place,
                expected="a function that reads only variables that the experiment names",
                found=f"{missed[0]}, which is set in this shell and which workers do not inherit",
                remedy=f"Write it into execution.env, or pass it on by name: execution.secrets: [{missed[0]}].",
            ) from error


def settle_code(
    store: StudyStore, experiment: Experiment, code: Mapping[str, str], executor: Executor, permission: Permission
) -> Mapping[str, str] | None:
    """The code with which a study goes on.

    Raises:
        InputError: it has changed and that is not allowed, or it is allowed while workers train with the old code.
    """
    kept = store.header.sweep.code
    if kept is None or not changed_files(kept, code):
        return code
    if not permission.changed_code:
        if store.is_done() and not permission.retry and experiment.search.trials <= store.target():
            return kept  # Nothing is trained.
        store.check_code(
            code,
            f"To go on with it nevertheless, add {next_flag('allow_changed_code', True)}: the trials so far are then "
            "marked as of other code.",
        )
    busy = workers_at_work(store, executor)
    if busy:
        raise InputError(
            f"study {store.name!r}",
            expected="no workers at work, since they train with the code from before its change",
            found=", ".join(busy),
            remedy=f"Stop them first: {next_command('cancel', study=store.name)}.",
        )
    return code


def _retry(store: StudyStore | None, study: str, executor: Executor) -> str:
    """Hand failed trials out again, and say which. Raises InputError."""
    if store is None:
        raise InputError(
            f"study {study!r}",
            expected="a study with failed trials",
            found="no study of that name",
            remedy=f"Start it with `{next_command('train', config=...)}`, or correct the name.",
        )
    busy = workers_at_work(store, executor)
    if busy:
        raise InputError(
            f"study {study!r}",
            expected="no workers at work, since they may hold code from before a change",
            found=", ".join(busy),
            remedy=f"Wait for them, or stop them: {next_command('cancel', study=study)}.",
        )
    refits = [str(refit.trial) for refit in store.refits() if refit.version is None]
    numbers = store.leases().retry_failed()
    if not numbers:
        again = f"; failed refits that are tried again: {', '.join(refits)}" if refits else ""
        return f"study {study}: no trial has failed{again}"
    return f"study {study}: failed trials that are trained again: {', '.join(map(str, numbers))}"


def workers_at_work(store: StudyStore, executor: Executor) -> list[str]:
    """Names of the groups that run as far as the executor sees, or were heard of a moment ago."""
    alive = {group.name for group in executor.groups(store.name) if not group.state.is_over}
    return sorted(alive | {life.group for life in store.workers() if life.is_heard})


def open_study(experiment: Experiment, study: str, settings: Settings, sweep: SweepRecord) -> StudyStore:
    """Make the study and its run, or find them, once nothing speaks against it."""
    if with_driver(settings.storage_url) == with_driver(settings.tracking_uri):
        raise InputError(
            "WINNOW_STORAGE",
            expected="another database than MLflow's, whose tables have the same names",
            found="the same",
            remedy="Give each a database of its own.",
        )
    existing = _existing(settings, study)
    if existing is not None:
        existing.check(experiment, sweep)
    _check_room(settings.home)
    prepare(settings.tracking_uri)
    make_home(settings.home)
    # Two commands that open the study at once would give it two runs.
    with locked(settings.home / "studies" / study / "open.lock"):
        store = StudyStore(Database(settings.storage_url, create=True), study)
        store.create(experiment, sweep)
        store.set_stopped(False)
        if not (store.is_done() and store.is_told()):
            # Found again by its tags where it exists, so that a tracking store that was set up anew gets its run too.
            store.set_parent_run_id(MlflowTracker(settings.tracking_uri).start_sweep(store.header.sweep))
        return store


def settle(store: StudyStore, tracker: Tracker) -> None:
    """End the run of a study that is done, should this or another orchestrator have started it again meanwhile.

    An orchestrator that attaches while the last worker finishes the run sets it running again: it reads the study
    before the worker has written down that all is done.

    Raises:
        TrackingUnavailableError: the tracking store does not answer.
    """
    parent = store.parent_run_id()
    if parent is not None and store.is_told():
        tracker.settle_sweep(store.header.sweep, parent, store.trials())


def _check_room(home: Path) -> None:
    """Refuse a disk that would be full before the first trial, while nothing lies on it yet."""
    place = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free_mib = shutil.disk_usage(place).free / 2**20
    if free_mib < ROOM_MIB:
        raise InputError(
            f"the disk of {home}",
            expected=f"room for a study, at least {ROOM_MIB} MiB",
            found=f"{free_mib:.1f} MiB",
            remedy="Make room, or set WINNOW_HOME to a folder on another disk.",
        )


def _found(settings: Settings, study: str) -> StudyStore | None:
    """The study if there is one, before anything is checked: nothing is made, and what is wrong is said later."""
    file = settings.storage_url.removeprefix("sqlite:///")
    if file != settings.storage_url and not Path(file).is_file():
        return None
    try:
        store = StudyStore(Database(settings.storage_url), study)
    except InputError:
        return None
    return store if store.exists() else None


def _existing(settings: Settings, study: str) -> StudyStore | None:
    """The study if there is one; no file is made for it."""
    file = settings.storage_url.removeprefix("sqlite:///")
    if file != settings.storage_url and not Path(file).is_file():
        return None
    # With its tables made, should another `make train` have been ended before it had made them all.
    store = StudyStore(Database(settings.storage_url, create=True), study)
    return store if store.exists() else None


def _is_done(store: StudyStore) -> bool:
    if not store.is_done():
        return False
    if not store.is_told():
        # The tracking store was away at the end. Writing the report again tells it the rest.
        store.reopen_report()
        return False
    return True


def _say_where_it_stands(store: StudyStore, executor: Executor, view: ProgressView) -> None:
    counts = store.counts()
    ended = counts["complete"] + counts["pruned"] + counts["failed"]
    alive = [group for group in executor.groups(store.name) if not group.state.is_over]
    if alive:
        where = f"{ended} of {store.target()} trials done"
        view.note(f"study {store.name}: attached to {len(alive)} worker(s) at work, {where}")
    elif counts["all"]:
        view.note(f"study {store.name}: {ended} of {store.target()} trials are done, going on with the rest")


def _store_data(data: DataFile, settings: Settings) -> None:
    try:
        data.put(settings.tracking_uri)
    except TrackingUnavailableError as error:
        raise InputError(
            f"the artifact store of {settings.tracking_uri}",
            expected=f"room for {data.path.name}, which workers fetch from there",
            found=str(error),
            remedy="Start it, or mount the data with execution.volumes.",
        ) from error


def _run(
    store: StudyStore,
    settings: Settings,
    site: Site,
    executor: Executor,
    groups: tuple[GroupSpec, ...],
    view: ProgressView,
    start: Callable[[GroupSpec], None],
) -> None:
    projector = Projector(store, functools.partial(MlflowTracker, settings.tracking_uri))
    projector.start()
    alive = [group for group in executor.groups(store.name) if not group.state.is_over]
    if not alive:
        # Their owners are gone with the groups, so nobody else will tell the tracking store.
        reconcile(store, projector)
    try:
        with view:
            SweepSupervisor(store, executor, groups, view, look_every_s=site.look_every_s, start=start).supervise()
    except KeyboardInterrupt:
        if site.is_left_by_interrupt:
            _say_detached(store, view)
            raise
        view.note(f"study {store.name}: stopping its workers and handing their trials back")
        stop(store, executor)
        view.note(f"study {store.name}: stopped; the same command goes on from here")
        raise
    finally:
        projector.close(0.5)


def _say_detached(store: StudyStore, view: ProgressView) -> None:
    view.note(f"study {store.name}: detached; its workers go on, and the same command attaches again")
    view.note(f"  watch: {next_command('logs', study=store.name, follow=True)}")
    view.note(f"  stop:  {next_command('cancel', study=store.name)}")


def _result(store: StudyStore, was_done: bool, report: Path) -> SweepResult:
    view = store.view()
    best = next((trial for trial in view.trials if trial.number == view.winner), None)
    return SweepResult(
        study=store.name,
        was_done=was_done,
        trials=store.target(),
        counts=store.counts(),
        best=best,
        metric=view.sweep.metric,
        refits=store.refits(),
        report=report,
    )

"""The sweep, from an experiment file to refitted models: check, make the study, start its groups, supervise them.

The orchestrator holds nothing that the sweep needs to go on: the groups continue when it is killed or its terminal is
closed, and starting it again attaches to them. It restarts groups that die, hands back what they held, and shows what
happens (`supervise.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.user_code import code_of
from winnow.orchestrators.attach import AttachedStart, is_attachable
from winnow.orchestrators.groups import gpu_sharing, plan_groups
from winnow.orchestrators.opened_study import describe_sweep, find_study, is_finished, open_study
from winnow.orchestrators.preflight import DataFile, check_data_file, check_training, data_file
from winnow.orchestrators.progress import ProgressView
from winnow.orchestrators.report import report_path, write_report
from winnow.orchestrators.resume import check_retry, resume, settled_code
from winnow.orchestrators.supervise import SweepFailedError, SweepSupervisor, stop
from winnow.orchestrators.sweep_platform import sweep_platform
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.lookup import Lookup
from winnow.platforms.sweep import SweepPlatform
from winnow.study.store import RefitResult, StudyStore
from winnow.tracking.records import TrialRecord
from winnow.tracking.tracker import TrackingUnavailableError
from winnow.training.fork_client import FORK_SERVER, ForkServer


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
        refits: what became of the best trials' models, as far as their refits have ended.
        refits_left: trials whose refits the groups carry out after this, by themselves. The best trial's is not among
            them. The same command waits for them.
    """

    study: str
    was_done: bool
    trials: int
    counts: Mapping[str, int]
    best: TrialRecord | None
    metric: str
    refits: tuple[RefitResult, ...]
    refits_left: tuple[int, ...]
    report: Path


def plan(
    request: SweepRequest, settings: Settings, lookup: Lookup, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """What `train` would start, as lines for a person. Raises InputError."""
    platform = sweep_platform(request, settings, lookup, environment)
    platform.check_image()
    check_data_file(request.experiment)
    groups = _planned(request, platform, _data_of(request, platform))
    platform.validate(groups)
    return platform.plan(groups)


def train(
    request: SweepRequest, settings: Settings, platform: SweepPlatform, server: ForkServer, view: ProgressView
) -> SweepResult:
    """Run a study until it is done, from wherever it stands.

    Args:
        platform: where its groups run, from `sweep_platform`.
        server: checks the experiment, from `start_check`; groups of this machine have it fork their ranks.

    Raises:
        InputError: something in the file or around it has to change. Nothing was created, unless workers found it:
            then they were stopped and their trials handed back.
        SweepFailedError: the groups do not come up.
        SweepStoppedError: the groups were stopped from elsewhere.
        KeyboardInterrupt: Ctrl-C; groups of this machine were stopped and their trials handed back, others work on.
    """
    existing = find_study(settings, request.study)
    if existing is not None and is_attachable(existing, request, platform):
        groups = _planned(request, platform, _data_of(request, platform))
        start = AttachedStart(existing, request, settings, platform, groups)
        store = open_study(request.experiment, request.study, settings, existing.header.sweep)
        return _run(store, settings, platform, platform.executor, groups, view, start)
    return _train(request, settings, platform, existing, server, view)


def _train(
    request: SweepRequest,
    settings: Settings,
    platform: SweepPlatform,
    existing: StudyStore | None,
    server: ForkServer,
    view: ProgressView,
) -> SweepResult:
    """Check, make the study or open the existing one, and start its groups. What takes seconds is checked last."""
    experiment, study = request.experiment, request.study
    code: Mapping[str, str] | None = code_of(experiment, Path.cwd())
    if existing is not None:
        existing.check_definition(experiment)
        code = settled_code(existing, request, code or {}, platform.executor)
        if _has_nothing_left(existing, request):
            return _end(existing, settings, platform.executor, was_done=True)
    if request.is_retry:
        check_retry(existing, study, platform.executor)
    platform.check_image()
    with view.checking() as show:
        checked = check_training(server, experiment, platform.host, lambda what: show(f"{study}: checking {what}"))
    data = _data_of(request, platform)
    groups = _planned(request, platform, data)
    if platform.host.capabilities.shares_files:
        groups = tuple(replace(group, env={**group.env, FORK_SERVER: server.share()}) for group in groups)
    else:
        server.close()
    platform.validate(groups)
    executor = platform.equip()
    sweep = replace(describe_sweep(experiment, study, checked, request.folder, settings.home), code=code)
    if existing is not None:
        existing.check(experiment, sweep)
        if (retried := resume(existing, request, code or {}, executor)) is not None:
            view.note(retried)
    store = open_study(experiment, study, settings, sweep)
    if is_finished(store):
        return _end(store, settings, executor, was_done=True)
    if data is not None:
        _store_data(data, settings)
    if (sharing := gpu_sharing(groups)) is not None:
        view.note(f"study {study}: {sharing}")
    return _run(store, settings, platform, executor, groups, view, executor.start)


def _has_nothing_left(store: StudyStore, request: SweepRequest) -> bool:
    """Whether nothing is trained, so that neither data nor an image is needed."""
    return not request.is_retry and not request.wants_more_than(store) and store.is_done() and store.is_told()


def _planned(request: SweepRequest, platform: SweepPlatform, data: DataFile | None) -> tuple[GroupSpec, ...]:
    return plan_groups(
        request.study,
        request.experiment.execution,
        platform.host,
        environment=os.environ,
        data_file=None if data is None else data.named,
    )


def _data_of(request: SweepRequest, platform: SweepPlatform) -> DataFile | None:
    """The data file that the groups have to fetch, if there is one."""
    return None if platform.host.capabilities.shares_files else data_file(request.experiment)


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
    platform: SweepPlatform,
    executor: Executor,
    groups: tuple[GroupSpec, ...],
    view: ProgressView,
    start: Callable[[GroupSpec], None],
) -> SweepResult:
    """Supervise the groups until the study is done.

    Args:
        start: starts a group, or starts it again.
    """
    alive = [group for group in executor.groups(store.name) if not group.state.is_over]
    _say_where_it_stands(store, len(alive), view)
    poll_s = platform.host.capabilities.poll_s
    try:
        with view:
            SweepSupervisor(store, executor, groups, view, poll_s=poll_s, start=start).supervise()
    except KeyboardInterrupt:
        if platform.host.capabilities.is_left_by_interrupt:
            _say_detached(store, view)
            raise
        view.note(f"study {store.name}: stopping its workers and handing their trials back")
        stop(store, executor)
        view.note(f"study {store.name}: stopped; the same command goes on from here")
        raise
    except (SweepFailedError, InputError):
        executor.clear(store.name)
        raise
    return _end(store, settings, executor, was_done=False, is_reported=platform.host.capabilities.shares_files)


def _say_where_it_stands(store: StudyStore, alive: int, view: ProgressView) -> None:
    counts = store.counts()
    ended = counts["complete"] + counts["pruned"] + counts["failed"]
    if alive:
        workers = "1 running worker" if alive == 1 else f"{alive} running workers"
        view.note(f"study {store.name}: attached to {workers}, {ended} of {store.target()} trials done")
    elif counts["all"]:
        view.note(f"study {store.name}: {ended} of {store.target()} trials are done, going on with the rest")


def _say_detached(store: StudyStore, view: ProgressView) -> None:
    view.note(f"study {store.name}: detached; its workers go on, and the same command attaches again")
    view.note(f"  watch: {next_command('logs', study=store.name, follow=True)}")
    view.note(f"  stop:  {next_command('cancel', study=store.name)}")


def _end(
    store: StudyStore, settings: Settings, executor: Executor, *, was_done: bool, is_reported: bool = False
) -> SweepResult:
    """Clear up after a sweep that is done, write its report, and say what came of it.

    Groups that have refits left are at work; clearing leaves those alone.

    Args:
        is_reported: a group has written the report into this home.
    """
    executor.clear(store.name)
    report = report_path(settings, store.name) if is_reported else write_report(settings, store.name)
    found = store.view()
    best = next((trial for trial in found.trials if trial.number == found.winner), None)
    return SweepResult(
        study=store.name,
        was_done=was_done,
        trials=store.target(),
        counts=store.counts(),
        best=best,
        metric=found.sweep.metric,
        refits=store.refits(),
        refits_left=store.refits_left(),
        report=report,
    )

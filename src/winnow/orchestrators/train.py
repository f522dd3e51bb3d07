"""Run a sweep: check the experiment, create the study, start its worker groups and supervise them.

The groups do not depend on this process. They continue if it is killed, and running it again attaches to them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from winnow.config.errors import InputError
from winnow.config.html_table import html_table
from winnow.config.next_command import next_command
from winnow.config.search import Ending
from winnow.config.settings import Settings
from winnow.config.user_code import code_of
from winnow.orchestrators.data_source import newer_version
from winnow.orchestrators.groups import gpu_sharing, plan_groups
from winnow.orchestrators.opened_study import describe_sweep, find_study, is_finished, open_study, warm_points
from winnow.orchestrators.pages import study_page
from winnow.orchestrators.preflight import DataFile, check_data_files, check_training, data_file, sweep_platform
from winnow.orchestrators.progress import SweepView
from winnow.orchestrators.report import report_path, write_report
from winnow.orchestrators.resume import (
    AttachedStart,
    check_retry,
    is_attachable,
    resume,
    settled_code,
    unused_warm_start,
)
from winnow.orchestrators.supervise import SweepFailedError, SweepSupervisor, stop, trials_left
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.lookup import Lookup
from winnow.platforms.sweep import SweepPlatform
from winnow.study.space import check_search
from winnow.study.store import RefitResult, StudyStore
from winnow.tracking.records import TrialRecord
from winnow.tracking.tracker import TrackingUnavailableError
from winnow.training.fork_client import FORK_SERVER, ForkServer

if TYPE_CHECKING:
    import pandas

SHOWN_TRIALS = 10
"""How many trials, the best first, a notebook shows of a sweep."""


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A study that is done.

    Attributes:
        was_done: nothing was left to do.
        trials: number of trials, in all states.
        counts: number of trials, by state.
        metric: the objective's name.
        report: the study's report, an HTML page.
        ended_by: what ended the search: its trials, the points of its grid, or a budget of time or failures.
        goal: the objective's better direction.
        records: all trials, by number.
        page: URL of its table of runs on a tracking server; empty without one.
        best: the complete trial with the best mean; None if there is none.
        refits: the finished refits of the best trials.
        refits_left: numbers of the trials that the groups are still refitting, not including the best one. Calling
            `train` again waits for them.
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
    ended_by: Ending = "trials"
    goal: Literal["maximize", "minimize"] = "maximize"
    records: tuple[TrialRecord, ...] = ()
    page: str = ""

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.counts[state]} {state}" for state in ("complete", "pruned", "failed"))
        best = "" if self.best is None else f"; best: trial {self.best.number}, {self.metric} {self.best.value:.4f}"
        return f"<SweepResult of {self.study}: {self.trials} trials ({counts}){best}>"

    def _repr_html_(self) -> str:
        """The best trials as a table, for notebooks."""
        done = [trial for trial in self.records if trial.state == "complete" and trial.value is not None]
        ranked = sorted(done, key=lambda trial: trial.value or 0.0, reverse=self.goal == "maximize")[:SHOWN_TRIALS]
        names = list(dict.fromkeys(name for trial in ranked for name in trial.params))
        rows = [(trial.number, trial.value, *(trial.params.get(name) for name in names)) for trial in ranked]
        return html_table(repr(self)[1:-1], ("trial", self.metric, *names), rows, f"Report: {self.report}")

    def trials_dataframe(self) -> pandas.DataFrame:
        """All trials as a table with the columns of Optuna's `Study.trials_dataframe`, one row for each.

        The columns are `number`, `value`, `datetime_start`, `datetime_complete` (in UTC), `duration`, `params_NAME`,
        `user_attrs_fold_scores` (the metric of every scored fold), `user_attrs_reason` and `state`.
        """
        import pandas as pd

        trials, known = self.records, {"failed": "FAIL"}  # Optuna's name, where it is not winnow's in capitals
        started, ended = (
            pd.to_datetime(pd.Series(times, dtype="Int64"), unit="ms")
            for times in ([trial.started_at_ms for trial in trials], [trial.ended_at_ms for trial in trials])
        )
        names = sorted({name for trial in trials for name in trial.params})
        return pd.DataFrame(
            {
                "number": [trial.number for trial in trials],
                "value": [trial.value for trial in trials],
                "datetime_start": started,
                "datetime_complete": ended,
                "duration": ended - started,
                **{f"params_{name}": [trial.params.get(name) for trial in trials] for name in names},
                "user_attrs_fold_scores": [[fold.metrics.get(self.metric) for fold in trial.folds] for trial in trials],
                "user_attrs_reason": [trial.reason for trial in trials],
                "state": [known.get(trial.state, trial.state.upper()) for trial in trials],
            }
        )


def plan(
    request: SweepRequest, settings: Settings, lookup: Lookup, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """What `train` would start, as lines for the user. Raises InputError."""
    request = request.resolved(settings)
    check_search(request.experiment)
    platform = sweep_platform(request, settings, lookup, environment)
    platform.check_image()
    check_data_files(request.experiment)
    groups = _planned(request, platform, _data_of(request, platform))
    platform.validate(groups)
    return platform.plan(groups)


def train(
    request: SweepRequest, settings: Settings, platform: SweepPlatform, server: ForkServer, view: SweepView
) -> SweepResult:
    """Start, resume or attach to a study, and return when it is done.

    Args:
        platform: where its groups run, from `sweep_platform`.
        server: checks the experiment, from `start_check`; local groups fork their ranks from it.

    Raises:
        InputError: the file, or something it needs, has to change. Nothing was created, unless workers found the
            fault: then they were stopped and their trials returned.
        SweepFailedError: the groups do not start.
        SweepStoppedError: another command stopped the groups.
        KeyboardInterrupt: Ctrl-C. Local groups were stopped and their trials returned; others keep running.
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
    view: SweepView,
) -> SweepResult:
    """Create or resume a study. Checks that take seconds come last."""
    experiment, study = request.experiment, request.study
    code: Mapping[str, str] | None = code_of(experiment, Path.cwd())
    if existing is not None:
        existing.check_definition(experiment)
        if (newer := newer_version(study, experiment, request.lineage, settings.home)) is not None:
            view.note(newer)
        code = settled_code(existing, request, code or {}, platform.executor)
        wants_more = request.is_retry or request.wants_more_than(existing)
        if not wants_more and existing.is_done() and existing.is_told():
            return _end(existing, settings, platform.executor, was_done=True)
    if request.is_retry:
        check_retry(existing, study, platform.executor)
    check_search(experiment)
    platform.check_image()
    with view.checking() as show:
        checked = check_training(server, experiment, platform.host, lambda what: show(f"{study}: checking {what}"))
    for note in checked.notes:
        view.note(f"study {study}: {note}")
    points = warm_points(experiment, settings, checked.objective, checked.goal) if existing is None else ()
    data = _data_of(request, platform)
    groups = _planned(request, platform, data)
    if platform.host.capabilities.shares_files:
        groups = tuple(replace(group, env={**group.env, FORK_SERVER: server.share()}) for group in groups)
    else:
        server.close()
    platform.validate(groups)
    executor = platform.equip()
    sweep = describe_sweep(experiment, study, checked, code, request.folder, settings.home, request.lineage)
    if existing is not None:
        existing.check(experiment, sweep)
        if (unused := unused_warm_start(existing, experiment)) is not None:
            view.note(unused)
        if (retried := resume(existing, request, code or {}, executor)) is not None:
            view.note(retried)
    store = open_study(experiment, study, settings, sweep, points)
    if is_finished(store):
        return _end(store, settings, executor, was_done=True)
    if data is not None:
        try:
            data.put(settings.tracking_uri)
        except TrackingUnavailableError as error:
            raise InputError(
                f"the artifact store of {settings.tracking_uri}",
                expected=f"that {data.path.name} can be stored there for the workers",
                found=str(error),
                remedy="Start the store, or mount the data with execution.volumes.",
            ) from error
    if (sharing := gpu_sharing(groups)) is not None:
        view.note(f"study {study}: {sharing}")
    return _run(store, settings, platform, executor, groups, view, executor.start)


def _planned(request: SweepRequest, platform: SweepPlatform, data: DataFile | None) -> tuple[GroupSpec, ...]:
    return plan_groups(
        request.study,
        request.experiment.execution,
        platform.host,
        environment=os.environ,
        data_file=None if data is None else data.named,
    )


def _data_of(request: SweepRequest, platform: SweepPlatform) -> DataFile | None:
    """The data file that the groups have to download; None if there is none."""
    return None if platform.host.capabilities.shares_files else data_file(request.experiment)


def _run(
    store: StudyStore,
    settings: Settings,
    platform: SweepPlatform,
    executor: Executor,
    groups: tuple[GroupSpec, ...],
    view: SweepView,
    start: Callable[[GroupSpec], None],
) -> SweepResult:
    """Supervise the groups until the study is done. `start` starts or restarts a group."""
    alive = sum(not group.state.is_over for group in executor.groups(store.name))
    done = f"{store.target() - trials_left(store)} of {store.target()} trials done"
    if alive:
        workers = "1 running worker" if alive == 1 else f"{alive} running workers"
        view.note(f"study {store.name}: attached to {workers}, {done}")
    elif store.counts()["all"]:
        view.note(f"study {store.name}: {done}; resuming")
    poll_s = platform.host.capabilities.poll_s
    try:
        with view:
            SweepSupervisor(store, executor, groups, view, poll_s=poll_s, start=start).supervise()
    except KeyboardInterrupt:
        if platform.host.capabilities.is_left_by_interrupt:
            view.note(f"study {store.name}: detached; its workers keep running, and the same command attaches again")
            view.note(f"  watch: {next_command('logs', study=store.name, follow=True)}")
            view.note(f"  stop:  {next_command('cancel', study=store.name)}")
            raise
        view.note(f"study {store.name}: stopping its workers and returning their trials")
        stop(store, executor)
        view.note(f"study {store.name}: stopped; the same command resumes it")
        raise
    except (SweepFailedError, InputError):
        executor.clear(store.name)
        raise
    return _end(store, settings, executor, was_done=False, is_reported=platform.host.capabilities.shares_files)


def _end(
    store: StudyStore, settings: Settings, executor: Executor, *, was_done: bool, is_reported: bool = False
) -> SweepResult:
    """Remove what finished groups left, and write the report unless a group wrote it to this home (`is_reported`).

    Groups that still have refits left keep running.
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
        ended_by=store.ended_by(),
        goal=found.sweep.goal,
        records=tuple(found.trials),
        page=study_page(settings, store.name),
    )

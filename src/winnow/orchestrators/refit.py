"""Refit one trial, for a selection whose winner has no model yet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from winnow.config.errors import WinnowError
from winnow.config.settings import Settings
from winnow.config.user_code import code_of
from winnow.orchestrators.groups import plan_groups, with_kept_secrets
from winnow.orchestrators.supervise import stop
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.lookup import Lookup
from winnow.platforms.table import platform_for
from winnow.study.database import Database
from winnow.study.status import waiting_lines
from winnow.study.store import RefitResult, StudyStore
from winnow.tracking.run_search import TrackedRun
from winnow.tracking.tracker import ModelVersion

POLL_S = 0.25
HERE = "local"
"""The platform of a refit, which needs one worker and no image."""


class RefitFailedError(WinnowError):
    """The trial could not be trained again, or its model could not be stored."""


def refit_run(
    run: TrackedRun, study: str, settings: Settings, say: Callable[[str], None] = lambda _line: None
) -> ModelVersion:
    """Refit a run's trial with a local worker: train it on all rows but the holdout and register the model.

    Args:
        say: is called with a line if the model waits for the tracking store.

    Raises:
        InputError: the code or the data differ from the study's. The refit was returned to the study.
        RefitFailedError: it failed, or its worker does not start.
        KeyboardInterrupt: Ctrl-C. The worker was stopped and the refit returned.
    """
    assert run.trial is not None, "only trials are ranked"
    store = StudyStore(Database(settings.storage_url), study)
    experiment = store.header.experiment
    store.check_code(
        code_of(experiment, Path.cwd()), "With other code, the model would not be the one that was scored."
    )
    platform = platform_for(HERE, settings).sweep(None, Lookup())
    execution = with_kept_secrets(experiment.execution, os.environ)
    group = plan_groups(study, execution, platform.host, environment=os.environ)[0]
    store.leases().request_refit(run.trial)
    store.set_stopped(False)
    platform.executor.start(group)
    try:
        version = _await_model(store, run.trial, platform.executor, group, say)
    except KeyboardInterrupt:
        stop(store, platform.executor)
        raise
    return ModelVersion(store.header.sweep.model, version, run.run_id)


def _await_model(
    store: StudyStore, number: int, executor: Executor, group: GroupSpec, say: Callable[[str], None]
) -> str:
    told: set[tuple[str, int | None]] = set()
    while (result := _result(store, number)) is None:
        for waiting, line in waiting_lines(life.status for life in store.workers() if life.is_heard).items():
            if waiting not in told:
                told.add(waiting)
                say(line)
        if executor.status(group.study, group.name).state.is_over and _result(store, number) is None:
            refusal = store.refusal()
            if refusal is not None:
                raise refusal
            tail = "\n".join(f"  {line}" for line in list(executor.log(group.study, group.name))[-15:])
            raise RefitFailedError(f"refit of trial {number}: its worker ended without a result:\n{tail}")
        time.sleep(POLL_S)
    if result.version is None:
        raise RefitFailedError(f"refit of trial {number}: {result.reason}")
    return result.version


def _result(store: StudyStore, number: int) -> RefitResult | None:
    return next((refit for refit in store.refits() if refit.trial == number), None)

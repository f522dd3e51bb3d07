"""Stop a study's groups on all platforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.supervise import GRACE_S, stop
from winnow.platforms.executor import Executor
from winnow.study.database import Database
from winnow.study.retry import Retry, StudyUnreachableError
from winnow.study.store import StudyStore


@dataclass(frozen=True)
class Cancelled:
    """The outcome of cancelling a study.

    Attributes:
        stopped: number of groups that were running.
        withheld: why their trials could not be returned to the study; None if they were.
        cleared: number of finished groups whose containers or pods were removed.
    """

    stopped: int
    withheld: str | None = None
    cleared: int = 0


def cancel(study: str, executors: Mapping[str, Executor], settings: Settings) -> Cancelled:
    """Stop a study's groups, return their trials, and remove their containers and pods. `executors`: by platform.

    If the study's database does not answer, the groups are stopped anyway; resuming the study returns their trials.
    Raises InputError if there is neither such a study nor groups of it, or a permission is missing; nothing was
    changed.
    """
    store: StudyStore | None = None
    refusal: InputError | StudyUnreachableError | None = None
    try:
        opened = StudyStore(Database(settings.storage_url), study)
        Retry(0)(lambda: opened.study_id)
        store = opened
    except (InputError, StudyUnreachableError) as error:
        refusal = error
    found = {platform: executor.groups(study) for platform, executor in executors.items()}
    for platform, groups in found.items():
        if groups:
            executors[platform].check_may_end()
    for executor in executors.values():
        if store is not None:
            try:
                Retry(0)(stop, store, executor)
            except StudyUnreachableError as error:
                store, refusal = None, error
        if store is None:
            executor.cancel_all(study, GRACE_S)
        executor.clear(study)
    every = [group for groups in found.values() for group in groups]
    stopped = sum(not group.state.is_over for group in every)
    # After `mlflow-remove` the study is gone, but its workers' containers and pods may still exist.
    cleared = sum(group.has_remains for group in every)
    if refusal is not None and not stopped and not cleared:
        raise refusal
    return Cancelled(stopped, withheld=str(refusal) if refusal is not None else None, cleared=cleared)

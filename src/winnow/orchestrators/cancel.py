"""Stopping a study, on all platforms on which its groups run."""

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
    """What came of cancelling a study.

    Attributes:
        stopped: groups that were at work.
        withheld: why their trials could not be handed back; None where they were.
        cleared: groups that were done, and whose containers or pods are removed now.
    """

    stopped: int
    withheld: str | None = None
    cleared: int = 0


def cancel(study: str, executors: Mapping[str, Executor], settings: Settings) -> Cancelled:
    """Stop a study's groups on these platforms, hand back what they held, and remove their containers and pods.

    Where the study's database does not answer, the groups are stopped all the same: what they held is handed back when
    the study is resumed.

    Args:
        executors: by platform.

    Raises:
        InputError: there is no such study, and no groups of it, or a permission to end them is missing; nothing was
            changed.
    """
    store, refusal = _open(study, settings)
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
    # After `mlflow-remove` the study is gone, while its workers' containers and pods may still exist.
    cleared = sum(group.has_remains for group in every)
    if refusal is not None and not stopped and not cleared:
        raise refusal
    return Cancelled(stopped, withheld=str(refusal) if refusal is not None else None, cleared=cleared)


def _open(study: str, settings: Settings) -> tuple[StudyStore | None, InputError | StudyUnreachableError | None]:
    """The study, or why it cannot be opened."""
    try:
        store = StudyStore(Database(settings.storage_url), study)
        Retry(0)(lambda: store.study_id)
    except (InputError, StudyUnreachableError) as error:
        return None, error
    return store, None

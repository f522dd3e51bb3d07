"""A study is stopped, on whatever tiers its groups are at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.settings import cluster_for
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
    """Stop a study's groups on these tiers, hand back what they held, and clear away what they leave.

    Where the study's database does not answer, the groups are stopped all the same: what they held is handed back by
    whoever resumes the study.

    Raises:
        InputError: there is no such study, and no groups of it, or what it takes to end them is not allowed; nothing
            was changed.
    """
    store, refusal = _open(study, settings)
    groups = {tier: executor.groups(study) for tier, executor in executors.items()}
    if groups.get("kubernetes"):
        _check_permissions(settings)
    for executor in executors.values():
        if store is not None:
            try:
                Retry(0)(stop, store, executor)
            except StudyUnreachableError as error:
                store, refusal = None, error
        if store is None:
            executor.cancel_all(study, GRACE_S)
        executor.clear(study)
    found = [group for groups_of in groups.values() for group in groups_of]
    stopped = sum(not group.state.is_over for group in found)
    # After `mlflow-remove` the study is gone, and what its workers left may still be there.
    cleared = sum(group.has_remains for group in found)
    if refusal is not None and not stopped and not cleared:
        raise refusal
    return Cancelled(stopped, withheld=str(refusal) if refusal is not None else None, cleared=cleared)


def _check_permissions(settings: Settings) -> None:
    from winnow.platforms.kubernetes import permissions
    from winnow.platforms.kubernetes.executor import PERMISSIONS

    permissions.check(cluster_for(settings.stack), PERMISSIONS, "ending a sweep's workers")


def _open(study: str, settings: Settings) -> tuple[StudyStore | None, InputError | StudyUnreachableError | None]:
    """The study, or why it cannot be had."""
    try:
        store = StudyStore(Database(settings.storage_url), study)
        Retry(0)(lambda: store.study_id)
    except (InputError, StudyUnreachableError) as error:
        return None, error
    return store, None

"""Whether a study that exists may go on: with the code of today, and with its failed trials trained again."""

from __future__ import annotations

from collections.abc import Mapping

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.user_code import changed_files
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor
from winnow.study.store import StudyStore


def settled_code(
    store: StudyStore, request: SweepRequest, code: Mapping[str, str], executor: Executor
) -> Mapping[str, str] | None:
    """The code with which a study goes on: sha256 of each file, by name.

    Raises:
        InputError: it has changed and that is not allowed, or it is allowed while workers train with the old code.
    """
    kept = store.header.sweep.code
    if kept is None or not changed_files(kept, code):
        return code
    if not request.allow_changed_code:
        if not request.is_retry and not request.wants_more_than(store) and store.is_finished():
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


def check_retry(store: StudyStore | None, study: str, executor: Executor) -> None:
    """Refuse to retry a study that does not exist, or whose workers are at work. Raises InputError."""
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


def retry_failed(store: StudyStore) -> str:
    """Hand failed trials out again; return a line that says which."""
    refits = [str(refit.trial) for refit in store.refits() if refit.version is None]
    numbers = store.leases().retry_failed()
    if not numbers:
        again = f"; failed refits that are tried again: {', '.join(refits)}" if refits else ""
        return f"study {store.name}: no trial has failed{again}"
    return f"study {store.name}: failed trials that are trained again: {', '.join(map(str, numbers))}"


def resume(store: StudyStore, request: SweepRequest, code: Mapping[str, str], executor: Executor) -> str | None:
    """Hand failed trials out again where that is asked for; return a line that says which.

    What depends on the workers at work is checked again: since the first check, the data were read and an image may
    have been pushed, and meanwhile another terminal may have started some.

    Raises:
        InputError: workers are at work that a change of the code or a retry has to wait for.
    """
    settled_code(store, request, code, executor)
    if not request.is_retry:
        return None
    check_retry(store, request.study, executor)
    return retry_failed(store)


def workers_at_work(store: StudyStore, executor: Executor) -> list[str]:
    """Names of the groups that run as far as the executor sees, or that sent a heartbeat a moment ago."""
    alive = {group.name for group in executor.groups(store.name) if not group.state.is_over}
    return sorted(alive | {life.group for life in store.workers() if life.is_heard})

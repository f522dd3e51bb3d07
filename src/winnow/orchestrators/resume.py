"""Check whether an existing study may continue with today's code, and return its failed trials for a retry."""

from __future__ import annotations

from collections.abc import Mapping

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_command, next_flag
from winnow.config.user_code import changed_files
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor
from winnow.study.store import StudyStore


def settled_code(
    store: StudyStore, request: SweepRequest, code: Mapping[str, str], executor: Executor
) -> Mapping[str, str] | None:
    """The code that the study continues with: sha256 of each file, by name.

    Raises:
        InputError: the code changed and the request does not allow it, or workers still train with the old code.
    """
    kept = store.header.sweep.code
    if kept is None or not changed_files(kept, code):
        return code
    if not request.allow_changed_code:
        if not request.is_retry and not request.wants_more_than(store) and store.is_finished():
            return kept  # Nothing is trained.
        allowed = next_flag("allow_changed_code", True)
        store.check_code(code, f"To continue anyway, add {allowed}: earlier trials are then marked as of other code.")
    _check_idle(store, executor, "because they train with the code from before the change")
    return code


def check_retry(store: StudyStore | None, study: str, executor: Executor) -> None:
    """Refuse to retry a study that does not exist or whose workers are running. Raises InputError."""
    if store is None:
        raise InputError(
            f"study {study!r}",
            expected="a study with failed trials",
            found="no study with that name",
            remedy=f"Start it with `{next_command('train', config=...)}`, or correct the name.",
        )
    _check_idle(store, executor, "because they may have loaded older code")


def retry_failed(store: StudyStore) -> str:
    """Return failed trials and refits to the study. The result is a line that names them."""
    refits = [str(refit.trial) for refit in store.refits() if refit.version is None]
    numbers = store.leases().retry_failed()
    if numbers:
        return f"study {store.name}: training failed trials again: {', '.join(map(str, numbers))}"
    again = f"; trying failed refits again: {', '.join(refits)}" if refits else ""
    return f"study {store.name}: no trial has failed{again}"


def resume(store: StudyStore, request: SweepRequest, code: Mapping[str, str], executor: Executor) -> str | None:
    """Return failed trials to the study if the request is a retry, with a line that names them.

    Running workers are checked a second time: another terminal may have started some since the first check.

    Raises:
        InputError: a change of the code or a retry has to wait for running workers.
    """
    settled_code(store, request, code, executor)
    if not request.is_retry:
        return None
    check_retry(store, request.study, executor)
    return retry_failed(store)


def unused_warm_start(store: StudyStore, experiment: Experiment) -> str | None:
    """A line about a warm start that was added to the file of an existing study; None if there is none."""
    if experiment.search.warm_start is None or store.points():
        return None
    return f"study {store.name}: search.warm_start is not used: it is for the first trials of a new study"


def _check_idle(store: StudyStore, executor: Executor, why: str) -> None:
    """Raises InputError if groups run as far as the executor sees, or have just sent a heartbeat."""
    running = {group.name for group in executor.groups(store.name) if not group.state.is_over}
    running |= {life.group for life in store.workers() if life.is_heard}
    if running:
        raise InputError(
            f"study {store.name!r}",
            expected=f"no running workers, {why}",
            found=", ".join(sorted(running)),
            remedy=f"Wait for them, or stop them: {next_command('cancel', study=store.name)}.",
        )

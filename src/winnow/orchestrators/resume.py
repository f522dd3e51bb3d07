"""Continue an existing study: with today's code, with its failed trials, or attached to groups that are all running."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.config.user_code import changed_files, code_of
from winnow.orchestrators.opened_study import describe_sweep
from winnow.orchestrators.preflight import check_training, start_check
from winnow.orchestrators.supervise import trials_left
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.sweep import SweepPlatform
from winnow.study.store import StudyStore


def settled_code(
    store: StudyStore, request: SweepRequest, code: Mapping[str, str], executor: Executor
) -> Mapping[str, str] | None:
    """The code that the study continues with: sha256 of each file, by name.

    Raises InputError if the code changed and the request does not allow it, or workers still train with the old code.
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

    Running workers are checked a second time: another terminal may have started some since the first check. Raises
    InputError if a change of the code or a retry has to wait for running workers.
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


def is_attachable(store: StudyStore, request: SweepRequest, platform: SweepPlatform) -> bool:
    """Whether all groups that the sweep needs are running, and the request changes nothing about them."""
    if request.allow_changed_code or request.is_retry:
        return False
    prefix = platform.host.capabilities.group_prefix
    alive = {group.name for group in platform.executor.groups(store.name) if not group.state.is_over}
    wanted = {f"{prefix}{index}" for index in range(request.experiment.execution.workers)}
    has_enough_trials = not request.wants_more_than(store)
    if has_enough_trials and store.is_told() and store.is_finished():
        # A platform may report a group as running for a moment after its work has ended.
        return False
    if not alive or wanted <= alive:
        return bool(alive)
    # Fewer workers are enough if they are as many as there are trials left.
    needed = max(1, trials_left(store), store.header.experiment.refit.top)
    return has_enough_trials and alive < wanted and needed <= len(alive)


class AttachedStart:
    """Start groups of a sweep that was attached to, if they are not running. The first start checks the sweep."""

    def __init__(
        self,
        store: StudyStore,
        request: SweepRequest,
        settings: Settings,
        platform: SweepPlatform,
        groups: Sequence[GroupSpec],
    ) -> None:
        self._store, self._request, self._settings = store, request, settings
        self._platform, self._groups = platform, groups
        self._lock = threading.Lock()
        self._executor: Executor | None = None

    def __call__(self, group: GroupSpec) -> None:
        """Start the group. Raises InputError if the study cannot continue with today's code, data or image."""
        known = self._platform.executor.groups(group.study)
        status = next((each for each in known if each.name == group.name), None)
        if status is not None and not status.state.is_over and not status.lacks_nodes:
            return
        with self._lock:
            if self._executor is None:
                self._executor = self._equipped()
        self._executor.start(group)

    def _equipped(self) -> Executor:
        request, host = self._request, self._platform.host
        self._platform.check_image()
        with contextlib.closing(start_check(request.experiment, host)) as server:
            checked = check_training(server, request.experiment, host)
        self._platform.validate(self._groups)
        code = code_of(request.experiment, Path.cwd())
        sweep = describe_sweep(
            request.experiment, request.study, checked, code, request.folder, self._settings.home, request.lineage
        )
        self._store.check(request.experiment, sweep)
        self._store.check_code(code or {}, "Or stop the workers, and start again with changed code.")
        return self._platform.equip()

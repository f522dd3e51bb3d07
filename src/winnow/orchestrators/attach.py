"""Attach to a sweep whose worker groups are all running.

Nothing is started, so code, data and image are only checked when a group has died and has to be started again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

from winnow.config.settings import Settings
from winnow.config.user_code import code_of
from winnow.orchestrators.opened_study import describe_sweep
from winnow.orchestrators.preflight import check_training, start_check
from winnow.orchestrators.supervise import trials_left
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.sweep import SweepPlatform
from winnow.study.store import StudyStore


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

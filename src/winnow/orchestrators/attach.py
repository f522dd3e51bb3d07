"""Attaching to a sweep whose worker groups are all at work.

Nothing is started, so code, data and image matter only once a group dies: they are checked before it is started again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence

from winnow.config.settings import Settings
from winnow.orchestrators.opened_study import describe_sweep
from winnow.orchestrators.preflight import check_training, start_check
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.sweep import SweepPlatform
from winnow.study.store import StudyStore


def is_attachable(store: StudyStore, request: SweepRequest, platform: SweepPlatform) -> bool:
    """Whether the groups that the sweep needs are all at work, and the request changes nothing about them."""
    if request.allow_changed_code or request.is_retry:
        return False
    experiment, prefix = request.experiment, platform.host.capabilities.group_prefix
    alive = {group.name for group in platform.executor.groups(store.name) if not group.state.is_over}
    wanted = {f"{prefix}{index}" for index in range(experiment.execution.workers)}
    is_as_large = experiment.search.trials <= store.target()
    if is_as_large and store.is_told() and store.is_finished():
        # A platform may report a group as running for a moment after its work has ended.
        return False
    return bool(alive) and (wanted <= alive or (is_as_large and alive < wanted and _needs_no_more(store, len(alive))))


def _needs_no_more(store: StudyStore, workers: int) -> bool:
    """Whether that many workers are enough for the trials that are left."""
    counts = store.counts()
    left = store.target() - counts["complete"] - counts["pruned"] - counts["failed"]
    return max(1, left, store.header.experiment.refit.top) <= workers


class AttachedStart:
    """Starts a group of a sweep that was attached to, if it does not run; checks the sweep before the first start."""

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
        """Start the group. Raises InputError where the study cannot go on with the code, data or image of today."""
        known = self._platform.executor.groups(group.study)
        status = next((each for each in known if each.name == group.name), None)
        if status is not None and not status.state.is_over and not status.lacks_nodes:
            return
        with self._lock:
            if self._executor is None:
                self._executor = self._equipped()
        self._executor.start(group)

    def _equipped(self) -> Executor:
        request = self._request
        self._platform.check_image()
        host = self._platform.host
        with contextlib.closing(start_check(request.experiment, host)) as server:
            checked = check_training(server, request.experiment, host)
        self._platform.validate(self._groups)
        sweep = describe_sweep(request.experiment, request.study, checked, request.folder, self._settings.home)
        self._store.check(request.experiment, sweep)
        self._store.check_code(sweep.code or {}, "Or stop the workers, and start again with changed code.")
        return self._platform.equip()

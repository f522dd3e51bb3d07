"""Run the worker groups of a sweep on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from winnow.config.settings import Settings
from winnow.platforms.executor import GroupSpec
from winnow.platforms.local.executor import LocalExecutor
from winnow.platforms.platform import Platform
from winnow.platforms.processors import usable_cpus, visible_gpus
from winnow.platforms.sweep import WorkerHost
from winnow.training.launch import is_torch_for_gpus


class LocalSweep:
    """`SweepPlatform` with local processes. They run this installation, so there is no image."""

    def __init__(self, platform: Platform, settings: Settings) -> None:
        self.executor = LocalExecutor(settings.home)
        self.host = WorkerHost(
            platform=platform.name,
            capabilities=platform.capabilities,
            python=sys.executable,
            home=settings.home,
            storage_url=settings.storage_url,
            tracking_uri=settings.tracking_uri,
            cpus=usable_cpus(),
            # Ranks use this installation's torch, which may be built without CUDA.
            gpus=visible_gpus() if is_torch_for_gpus(find_spec("torch")) else (),
        )

    def warm_up(self, groups: int) -> None:
        self.executor.warm_up(groups)

    def check_image(self) -> None:
        """Nothing to check: processes run no image."""

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        return self.executor.plan(groups)

    def validate(self, groups: Sequence[GroupSpec]) -> None:
        """Nothing to validate before a process is started."""

    def equip(self) -> LocalExecutor:
        return self.executor

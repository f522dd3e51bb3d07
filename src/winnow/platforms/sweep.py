"""A platform that runs the worker groups of one sweep: what planning them depends on, and how they are started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.config.experiment import ExecutionConfig
from winnow.config.settings import Settings
from winnow.platforms.container import WORKER_HOME
from winnow.platforms.executor import Executor, GroupSpec

if TYPE_CHECKING:
    from winnow.platforms.platform import Capabilities, Platform

CONTAINER_PYTHON = "/opt/venv/bin/python"
"""The interpreter in the workers' image."""


@dataclass(frozen=True)
class WorkerHost:
    """What worker groups find where they run.

    Attributes:
        platform: its name.
        python: the interpreter.
        home, storage_url, tracking_uri: winnow's folder and the two stores, as workers reach them.
        cpus, gpus: the machine's, which the groups share; GPUs as CUDA_VISIBLE_DEVICES names them. None: a scheduler
            finds a machine for every group, which has to say what it needs.
    """

    platform: str
    capabilities: Capabilities
    python: str
    home: Path
    storage_url: str = field(repr=False)
    tracking_uri: str = field(repr=False)
    cpus: int | None
    gpus: tuple[str, ...] | None

    def has_gpu(self, execution: ExecutionConfig) -> bool | None:
        """Whether ranks have a GPU; None: they share this machine, where torch says so itself."""
        if self.capabilities.shares_files:
            return None
        return execution.device == "cuda" if self.gpus is None else bool(self.gpus)


def image_host(platform: Platform, settings: Settings, *, cpus: int | None, gpus: tuple[str, ...] | None) -> WorkerHost:
    """The host of groups that run the workers' image, and see nothing of this machine's files."""
    return WorkerHost(
        platform=platform.name,
        capabilities=platform.capabilities,
        python=CONTAINER_PYTHON,
        home=Path(WORKER_HOME),
        storage_url=settings.worker_storage_url,
        tracking_uri=settings.worker_tracking_uri,
        cpus=cpus,
        gpus=gpus,
    )


class SweepPlatform(Protocol):
    """Plans and starts the worker groups of one sweep."""

    @property
    def host(self) -> WorkerHost: ...

    @property
    def executor(self) -> Executor:
        """Finds and ends groups; it starts none."""

    def warm_up(self, groups: int) -> None:
        """Start what `groups` groups need before their study exists. It ends with this process if none is started."""

    def check_image(self) -> None:
        """Raises InputError where the image that groups run is missing, or holds other code than this project."""

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """The groups as lines for people and for golden tests; starts nothing."""

    def validate(self, groups: Sequence[GroupSpec]) -> None:
        """Ask the platform whether it accepts the groups; changes nothing. Raises InputError where it does not."""

    def equip(self) -> Executor:
        """Deliver the image that groups need, once all checks have passed, and return the executor that starts them.

        Raises:
            InputError: there is no such image, or no route brings it there.
            BuildFailedError: the registry refused the image, or the command that loads it failed.
        """

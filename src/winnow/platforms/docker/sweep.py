"""The worker groups of a sweep on a Docker engine: `SweepPlatform` of containers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.settings import Settings
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.executor import DockerExecutor
from winnow.platforms.docker.group_plan import DockerWorkers, plan_group, render
from winnow.platforms.docker.train_image import image_name
from winnow.platforms.executor import GroupSpec
from winnow.platforms.lookup import Lookup
from winnow.platforms.platform import Platform
from winnow.platforms.processors import usable_cpus, visible_gpus
from winnow.platforms.sweep import image_host

if TYPE_CHECKING:
    from winnow.platforms.docker.images import DockerImages


class DockerSweep:
    """Implements `SweepPlatform`. `image`: one that a person named; None for the one of this project."""

    def __init__(
        self, platform: Platform, settings: Settings, images: DockerImages, image: str | None, lookup: Lookup
    ) -> None:
        self._settings, self._images, self._image, self._lookup = settings, images, image, lookup
        here = usable_cpus()
        cpus = lookup(f"the Docker host's CPUs, so workers share this machine's {here}", self._cpus, here)
        self.host = image_host(platform, settings, cpus=cpus, gpus=visible_gpus())

    @functools.cached_property
    def executor(self) -> DockerExecutor:
        return self._executor("")

    def warm_up(self, groups: int) -> None:
        """Nothing: a container starts with its study."""

    def check_image(self) -> None:
        _ = self._image_id

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """The `docker` commands that would do the same, without passwords and secrets."""
        workers = self._workers(self._image_id)
        return [line for group in groups for line in render(plan_group(group, workers))]

    def validate(self, groups: Sequence[GroupSpec]) -> None:
        """Nothing: an engine says only when it starts a container what it does not accept."""

    def equip(self) -> DockerExecutor:
        return self._executor(self._image_id)

    @functools.cached_property
    def _image_id(self) -> str:
        project = Path.cwd()
        name = image_name(self._image, project)
        return self._lookup(
            f"the id of the image {name}, and whether it holds the code of this folder",
            lambda: self._images.train_image(self._image, project),
            name,
        )

    def _cpus(self) -> int:
        with asking("the Docker engine"):
            return int(self._images.engine.info()["NCPU"])

    def _executor(self, image: str) -> DockerExecutor:
        return DockerExecutor(self._workers(image), self._settings.home, engine=self._images.engine)

    def _workers(self, image: str) -> DockerWorkers:
        return DockerWorkers(image=image, network=self._settings.network)

"""The images of a Docker engine: implements `Images`, which hides the engine from the rest."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.platforms.docker import delivery, train_image
from winnow.platforms.docker.client import connect
from winnow.platforms.images import ImageRoute, Show, silent

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine


class DockerImages:
    """Implements `Images` on the Docker engine that the environment names, which is contacted when it is needed."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine. Raises InputError where none answers."""
        return connect(self._environment)

    def train_image(self, name: str | None, folder: Path) -> str:
        """See `Images.train_image`."""
        return train_image.check(self.engine, name, folder)

    def deliver(
        self, identifier: str, name: str, route: ImageRoute, show: Show = silent, *, is_forced: bool = False
    ) -> str:
        """See `Images.deliver`."""
        return delivery.deliver(self.engine, identifier, name, route, show, is_forced=is_forced)

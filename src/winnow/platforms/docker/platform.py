"""A Docker engine as a platform: containers of an image."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.stack_record import StackRecord
from winnow.platforms.deployer import Say
from winnow.platforms.docker.airflow import DockerAirflow
from winnow.platforms.docker.deployer import DockerDeployer
from winnow.platforms.docker.executor import DockerExecutor
from winnow.platforms.docker.group_plan import DockerWorkers
from winnow.platforms.docker.images import DockerImages
from winnow.platforms.docker.monitoring import DockerMonitoring
from winnow.platforms.docker.stack import DockerStack
from winnow.platforms.docker.sweep import DockerSweep
from winnow.platforms.images import (
    PROD_BASE,
    TRAIN_BASE,
    BuildOptions,
    Show,
    TrainImagesRequest,
    silent,
)
from winnow.platforms.lookup import Lookup
from winnow.platforms.platform import Capabilities, Platform
from winnow.platforms.rollout_driver import RolloutDriver, start_process
from winnow.platforms.stack import ChoosePort, any_port
from winnow.platforms.stack_variables import PROJECT, default

_ANSWER_S = 2.0
"""How long a connection to a port of this machine may take."""


class DockerPlatform(Platform):
    """`Platform` of containers on the Docker engine that the environment names."""

    name = "docker"
    capabilities = Capabilities(
        workers="containers on this machine",
        replica="container",
        ready_within_s=60,
        group_prefix="c",
    )

    def __init__(self, settings: Settings, images: DockerImages, environment: Mapping[str, str] = os.environ) -> None:
        self._settings, self._images, self._environment = settings, images, environment

    @property
    def is_in_use(self) -> bool:
        return self._settings.stack is not None and self._settings.stack.platform == self.name

    def executor(self) -> DockerExecutor:
        return DockerExecutor(DockerWorkers(image="", network=self._settings.network), self._settings.home)

    def sweep(self, image: str | None, lookup: Lookup) -> DockerSweep:
        return DockerSweep(self, self._settings, self._images, image, lookup)

    def deployer(self, *, say: Say) -> DockerDeployer:
        # Its changes are too short to tell of.
        return DockerDeployer(self._settings.home)

    def prepare_router(self, show: Show = silent) -> str:
        options = replace(BuildOptions.from_environment(self._environment, base=PROD_BASE), registry="")
        return self._images.plan_router_image(Path.cwd(), options).build(show)

    def prepare_driver(self) -> Callable[[str], RolloutDriver]:
        return lambda name: start_process(name, self.name, self._settings.home)

    def stack(self, given: Mapping[str, str], *, folder: Path, say: Say) -> DockerStack:
        return DockerStack(
            given,
            home=self._settings.home,
            in_use=self._settings.stack,
            folder=folder,
            say=say,
            environment=self._environment,
        )

    def monitoring_stack(self, *, folder: Path, say: Say) -> DockerMonitoring:
        return DockerMonitoring(
            self._settings.home,
            project=stack_project(self._settings, self._environment),
            folder=folder,
            say=say,
            environment=self._environment,
        )

    def airflow_stack(self, *, folder: Path, say: Say) -> DockerAirflow:
        options = replace(BuildOptions.from_environment(self._environment, base=TRAIN_BASE), registry="")
        return DockerAirflow(
            self._settings,
            lambda: self._images.plan_airflow_image(TrainImagesRequest(folder, options)),
            project=stack_project(self._settings, self._environment),
            folder=folder,
            say=say,
            environment=self._environment,
        )

    def local_settings(self, choose_port: ChoosePort = any_port) -> Settings:
        return self._settings  # a stack on this engine publishes its ports on this machine

    def silent_stack(self) -> str | None:
        stack = self._settings.stack
        if not isinstance(stack, StackRecord):
            return None
        own = {_address(url) for url in (stack.tracking_url, stack.storage_url or "")}
        for address in (_address(self._settings.tracking_uri), _address(self._settings.storage_url)):
            if address is None or address not in own:
                continue
            try:
                socket.create_connection(address, timeout=_ANSWER_S).close()
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                return (
                    f"{stack.shown}: expected it to answer, found {reason} at {address[0]}:{address[1]}. "
                    f"Start it again with `{next_command('mlflow-init')}`, or end its use with `{stack.ending}`."
                )
        return None


def stack_project(settings: Settings, environment: Mapping[str, str]) -> str:
    """The name of the tracking stack's Compose project: the one that is named, in use, or the default."""
    in_use = settings.stack.project if isinstance(settings.stack, StackRecord) else default(PROJECT)
    return environment.get(PROJECT) or in_use


def _address(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url)
    return (parts.hostname, parts.port) if parts.hostname and parts.port else None

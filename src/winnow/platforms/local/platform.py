"""This machine as a platform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.platforms.deployer import Say
from winnow.platforms.local.deployer import LocalDeployer
from winnow.platforms.local.executor import LocalExecutor
from winnow.platforms.local.sweep import LocalSweep
from winnow.platforms.lookup import Lookup
from winnow.platforms.platform import Capabilities, Platform
from winnow.platforms.rollout_driver import RolloutDriver, start_process
from winnow.platforms.stack import ChoosePort, any_port


class LocalPlatform(Platform):
    """`Platform` with local processes."""

    name = "local"
    capabilities = Capabilities(
        shares_files=True,
        workers="processes on this machine",
        replica="process",
        ready_within_s=60,
        has_nodes=False,
        limits_resources=False,
        is_left_by_interrupt=False,
        group_prefix="w",
        poll_s=0.25,
    )
    is_in_use = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def executor(self) -> LocalExecutor:
        return LocalExecutor(self._settings.home)

    def sweep(self, image: str | None, lookup: Lookup) -> LocalSweep:
        return LocalSweep(self, self._settings)

    def deployer(self, *, say: Say) -> LocalDeployer:
        # Its changes are too short to report on.
        return LocalDeployer(self._settings.home)

    def prepare_driver(self) -> Callable[[str], RolloutDriver]:
        return lambda name: start_process(name, self.name, self._settings.home)

    def stack(self, given: Mapping[str, str], *, folder: Path, say: Say) -> NoReturn:
        remedy = "Choose one of them. Without a stack, runs and studies are stored in files in WINNOW_HOME."
        raise self._refused("docker or kubernetes, which can run a stack", remedy)

    def monitoring_stack(self, *, folder: Path, say: Say) -> NoReturn:
        remedy = "Choose one of them. `winnow monitor` watches deployments on this machine without it."
        raise self._refused("docker or kubernetes, which can run Prometheus and Alertmanager", remedy)

    def airflow_stack(self, *, folder: Path, say: Say) -> NoReturn:
        remedy = f"Start Airflow without them: `{next_command('airflow-local')}`."
        raise self._refused("docker or kubernetes", remedy)

    def local_settings(self, choose_port: ChoosePort = any_port) -> Settings:
        return self._settings

    def _refused(self, expected: str, remedy: str) -> InputError:
        return InputError("platform", expected=expected, found=f"'{self.name}'", remedy=remedy)

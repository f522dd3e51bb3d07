"""Airflow on a Docker engine: one Compose project (compose.airflow.yaml), and a private file with its secrets.

Tasks run in the scheduler's container. They have winnow's home in a volume, and the stores of the tracking stack where
one is in use on this engine.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from winnow.config.errors import InputError, UnavailableError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.stack_record import StackRecord
from winnow.platforms.airflow_stack import (
    PASSWORD,
    SECRETS,
    SERVICES,
    USER,
    AirflowRequest,
    connection,
    keep_secrets,
    known_secrets,
    secrets_file,
)
from winnow.platforms.deployer import Say
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.compose_project import (
    ADDRESS,
    SERVICE,
    ComposeLogs,
    ComposeProject,
    compose_file,
    is_up,
    logs_arguments,
    volumes_of,
)
from winnow.platforms.docker.engine_deployment import log
from winnow.platforms.images import ImageBuild, Show, silent
from winnow.platforms.labels import AIRFLOW
from winnow.platforms.stack import LOG_LINES, StackEnd, StackError, check_service, redacted

COMPOSE_FILE = "compose.airflow.yaml"
PROJECT_IN_IMAGE, WINNOW_IN_IMAGE = PurePosixPath("/workspace"), "/opt/venv/bin/winnow"
ALL_SERVICES = ("database", "migration", *SERVICES)
_WHAT = "Airflow"


@dataclass(frozen=True)
class DockerAirflowPlan:
    """Implements `winnow.platforms.stack.Plan`. `variables`: what compose.airflow.yaml asks for besides secrets."""

    image: ImageBuild
    secrets_file: Path
    secrets: Mapping[str, str] = field(repr=False)
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(repr=False)
    unknown: tuple[str, ...] = ()

    @property
    def endpoints(self) -> Mapping[str, str]:
        return {
            "Airflow": f"http://{ADDRESS}:{self.variables['AIRFLOW_PORT']}",
            "User": USER,
            "Password": f"{PASSWORD} in {self.secrets_file}",
        }

    def render(self) -> str:
        hidden = ("AIRFLOW_STORAGE",)
        shown = [f"{name}={'***' if name in hidden and text else text}" for name, text in self.variables.items()]
        return "\n".join(
            [
                f"write {self.secrets_file} (0600) unless it exists: {', '.join(self.secrets)}",
                f"run {self.image.render()}",
                f"run {' '.join(shlex.quote(each) for each in shown)} {shlex.join(self.command)}",
                f"wait until healthy: {', '.join(SERVICES)}",
                f"publish the page at {self.endpoints['Airflow']}",
                "",
            ]
        )


class DockerAirflow:
    """Implements `winnow.platforms.airflow_stack.AirflowStack`: one for a home.

    Args:
        image: plans Airflow's, with the project's code.
        project: name of the tracking stack's Compose project, from which this one's is made.
    """

    def __init__(
        self,
        settings: Settings,
        image: Callable[[], ImageBuild],
        *,
        project: str,
        folder: Path,
        say: Say,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings, self._image, self._say = settings, image, say
        self._secrets_file = secrets_file(settings.home, "docker")
        self._project = ComposeProject(
            name=f"{project}-airflow",
            file=compose_file(folder, COMPOSE_FILE),
            what=_WHAT,
            verb="airflow",
            label=AIRFLOW,
            owner=str(settings.home.absolute()),
            environment=environment,
        )

    def plan(self, request: AirflowRequest, *, is_dry_run: bool = False) -> DockerAirflowPlan:
        try:
            with asking(_WHAT):
                containers, volumes = self._project.containers(), self._volumes()
        except UnavailableError:
            if not is_dry_run:
                raise
            return self._planned(request, ("whether the port is free: no Docker engine answers",))
        self._project.check(containers, [("api-server", request.port, "port")])
        if volumes and not self._secrets_file.is_file():
            raise InputError(
                str(self._secrets_file),
                expected=f"the secrets of the volumes {', '.join(volumes)}",
                found="no such file",
                remedy="Bring it back from a copy, or delete the volumes: "
                f"`{next_command('airflow-remove', volumes=True)}`.",
            )
        return self._planned(request)

    @asking(_WHAT)
    def start(self, plan: DockerAirflowPlan, timeout_s: float, show: Show = silent) -> None:
        self._say("building Airflow's image (minutes the first time, seconds afterwards)")
        plan.image.build(show)
        keep_secrets(plan.secrets_file, plan.secrets)
        self._say(f"starting {', '.join(ALL_SERVICES)} and waiting until they are healthy")
        command = [*plan.command, "--wait-timeout", str(math.ceil(timeout_s))]
        try:
            self._project.run(command, {**plan.variables, **plan.secrets})
        except StackError as error:
            again = next_command("airflow-init")
            said = redacted(f"{error}\n{self._said()}", plan.secrets.values()).rstrip()
            hint = f"`{next_command('airflow-logs')}` shows more, `{again}` tries again."
            raise StackError(f"{said}\n{hint}") from error

    @asking(_WHAT)
    def plan_end(self, *, volumes: bool) -> StackEnd:
        steps = [f"remove the containers and networks of the project {self._project.name}"]
        if volumes:
            steps += [
                f"delete the volumes {', '.join(self._volumes()) or '(there are none)'}",
                f"delete {self._secrets_file}",
            ]
        kept = "Its runs, and what its tasks have made, are gone." if volumes else "Its volumes stay."
        return self._project.plan_end(steps, kept)

    @asking(_WHAT)
    def end(self, *, volumes: bool) -> None:
        self._project.down(self._any_variables(), volumes=volumes)
        if volumes:
            shutil.rmtree(self._secrets_file.parent, ignore_errors=True)

    def logs(self, service: str | None, lines: int, *, follow: bool) -> ComposeLogs:
        check_service(service, ALL_SERVICES)
        return ComposeLogs(
            f"the Airflow {self._project.name}",
            "airflow-init",
            self._project.command(*logs_arguments(service, lines, follow=follow)),
            self._project.containers,
            lambda: self._project.subprocess_environment(self._any_variables()),
        )

    def _planned(self, request: AirflowRequest, unknown: tuple[str, ...] = ()) -> DockerAirflowPlan:
        image = self._image()
        up = ("up", "--detach", "--wait", "--no-build", "--quiet-pull", "--remove-orphans")
        return DockerAirflowPlan(
            image=image,
            secrets_file=self._secrets_file,
            secrets=known_secrets(self._secrets_file),
            command=tuple(self._project.command(*up)),
            variables=self._variables(request, image.tag),
            unknown=unknown,
        )

    def _variables(self, request: AirflowRequest, image: str) -> dict[str, str]:
        """What compose.airflow.yaml asks for, but the secrets."""
        stack = self._settings.stack
        found = {
            "AIRFLOW_OWNER": self._project.owner,
            "AIRFLOW_IMAGE": image,
            "AIRFLOW_PORT": str(request.port),
            "AIRFLOW_PARALLELISM": str(request.parallelism),
            **connection(PROJECT_IN_IMAGE, WINNOW_IN_IMAGE),
        }
        if not isinstance(stack, StackRecord):
            return {**found, "AIRFLOW_NETWORK": f"{self._project.name}_tracking"}
        return {
            **found,
            "AIRFLOW_NETWORK": stack.network,
            "AIRFLOW_NETWORK_IS_EXTERNAL": "true",
            "AIRFLOW_TRACKING_URI": self._settings.worker_tracking_uri,
            "AIRFLOW_STORAGE": self._settings.worker_storage_url,
        }

    def _any_variables(self) -> Mapping[str, str]:
        """Values for a command that only asks whether they are set."""
        return {**self._variables(AirflowRequest(), "none"), **dict.fromkeys(SECRETS, "none")}

    def _volumes(self) -> list[str]:
        return volumes_of(self._project.engine, f"{AIRFLOW}={self._project.owner}")

    def _said(self) -> str:
        """The ends of the logs of services that are not healthy."""
        said = []
        for each in self._project.containers():
            if not is_up(each) and each.status != "created":
                said += [f"{each.labels[SERVICE]}:", *(f"    {line}" for line in log(each, LOG_LINES))]
        return "\n".join(said)

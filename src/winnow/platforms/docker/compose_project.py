"""A Compose project that winnow starts beside the tracking stack: monitoring, or Airflow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.own_files import own_folder
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.stack import check_compose
from winnow.platforms.docker.stack_plan import subprocess_environment
from winnow.platforms.ports import is_free
from winnow.platforms.stack import LOG_LINES, StackError

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

ADDRESS = "127.0.0.1"
"""Where all of it is published."""
SERVICE = "com.docker.compose.service"
_PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class ComposeProject:
    """One project; making it contacts nothing.

    Attributes:
        name: the project's.
        file: its Compose file.
        what: what messages call it.
        remove: the verb that removes it.
        label, owner: the label of all its parts, and its value: what it belongs to.
        environment: the caller's, for `docker` itself, and for images and limits that the file names.
        env_file: where Compose reads variables, besides those of each call.
    """

    name: str
    file: Path
    what: str
    remove: str
    label: str
    owner: str
    environment: Mapping[str, str]
    env_file: Path = Path(os.devnull)

    @cached_property
    def engine(self) -> docker.DockerClient:
        """The engine. Raises UnavailableError where none answers."""
        return connect(self.environment)

    def containers(self) -> list[Container]:
        """All of its containers, also those that have ended."""
        filters: dict[str, str | list[str] | bool] = {"label": f"{_PROJECT}={self.name}"}
        return list(self.engine.containers.list(all=True, filters=filters, ignore_removed=True))

    def other_owner(self, containers: Sequence[Container]) -> str:
        """What a running project of this name belongs to, where it is not `owner`'s; else empty."""
        owners = {str(each.labels.get(self.label, "another project")) for each in containers}
        return next(iter(owners - {self.owner}), "")

    def taken(self, other: str) -> InputError:
        """The error for a project that belongs to another owner."""
        return InputError(
            f"the {self.what} '{self.name}'",
            expected=f"none of that name, or one of {self.owner}",
            found=f"one of {other}",
            remedy=f"Remove that one (`{next_command(self.remove)}` with its home), or set WINNOW_PROJECT to "
            "another name for one beside it.",
        )

    def check(self, containers: Sequence[Container], ports: Mapping[str, tuple[int, str]]) -> None:
        """Refuse a start.

        Args:
            ports: the port of each service that publishes one, and the flag that chooses it.

        Raises:
            InputError: it is another owner's, Compose is missing or too old, or a port is taken.
        """
        if other := self.other_owner(containers):
            raise self.taken(other)
        check_compose(self.environment)
        published = {port for each in containers for port in _published(each)}
        for service, (port, flag) in ports.items():
            if port not in published and not is_free(ADDRESS, port):
                raise InputError(
                    f"{service}'s port {port}",
                    expected="a free port of this machine",
                    found="one that is taken",
                    remedy=f"Choose another: {next_flag(flag, port + 1)}.",
                )

    def check_compose(self) -> None:
        """Raises InputError where Compose is missing or too old."""
        check_compose(self.environment)

    def command(self, *arguments: str, profiles: Sequence[str] = ()) -> list[str]:
        """A command of Compose for it."""
        file = ("--file", str(self.file), "--env-file", str(self.env_file))
        chosen = [word for each in profiles for word in ("--profile", each)]
        return ["docker", "compose", "--project-name", self.name, *file, *chosen, *arguments]

    def run(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        """Run such a command. Raises StackError, with the end of what it printed, where it fails."""
        environment = self.subprocess_environment(variables)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            verb = next(each for each in command if each in ("up", "down"))
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise StackError(f"{self.what}: `docker compose {verb}` failed:\n" + "\n".join(lines[-LOG_LINES:]))

    def subprocess_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The environment of such a command."""
        return {**subprocess_environment(self.environment), **variables}

    def down(self, variables: Mapping[str, str], *, volumes: bool, profiles: Sequence[str] = ()) -> None:
        """Remove its containers and networks, and its volumes. Raises StackError where that fails."""
        check_compose(self.environment)
        arguments = ("down", "--remove-orphans", *(("--volumes",) if volumes else ()))
        self.run(self.command(*arguments, profiles=profiles), variables)


def compose_file(folder: Path, name: str) -> Path:
    """The absolute path of a Compose file, the project's or else the clone's. Raises InputError where there is none."""
    found = (own_folder(folder, name) / name).absolute()
    if not found.is_file():
        raise InputError(
            str(found),
            expected=f"winnow's {name}",
            found="no such file",
            remedy="Run this in the folder that holds it.",
        )
    return found


def _published(container: Container) -> set[int]:
    bindings = container.attrs["HostConfig"]["PortBindings"] or {}
    return {int(each["HostPort"]) for found in bindings.values() for each in found or ()}

"""Compose projects: what all have in common, and those that winnow starts beside the tracking stack."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.own_files import own_folder
from winnow.platforms.docker.client import asking, connect
from winnow.platforms.docker.stack_plan import subprocess_environment
from winnow.platforms.ports import is_free
from winnow.platforms.stack import LOG_LINES, StackEnd, StackError

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

ADDRESS = "127.0.0.1"
"""Where all beside the tracking stack is published."""
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_OLDEST_COMPOSE = (2, 20)


@dataclass(frozen=True)
class ComposeProject:
    """A project beside the tracking stack: monitoring, Airflow or Spark. Making one contacts nothing.

    Attributes:
        file: its Compose file.
        what: what messages call it.
        verb: what the verbs about it begin with: `VERB-init`, `VERB-remove`.
        label, owner: the label of all its parts, and its value: what it belongs to.
        environment: the caller's, for `docker` itself, and for images and limits that the file names.
    """

    name: str
    file: Path
    what: str
    verb: str
    label: str
    owner: str
    environment: Mapping[str, str]

    @cached_property
    def engine(self) -> docker.DockerClient:
        """The engine. Raises UnavailableError where none answers."""
        return connect(self.environment)

    def containers(self) -> list[Container]:
        """All of its containers, also those that have ended."""
        with asking(self.what):
            return containers_of(self.engine, self.name)

    def other_owner(self, containers: Iterable[Container]) -> str:
        """What a running project of this name belongs to, where it is not `owner`'s; else empty."""
        owners = {str(each.labels.get(self.label, "another project")) for each in containers}
        return next(iter(owners - {self.owner}), "")

    def check(self, containers: Sequence[Container], ports: Iterable[tuple[str, int, str]]) -> None:
        """Refuse a start.

        Args:
            ports: what is to listen at each port, and the flag that chooses it.

        Raises:
            InputError: it is another owner's, Compose is missing or too old, or a port is taken.
        """
        if other := self.other_owner(containers):
            raise self._taken(other)
        check_compose(self.environment)
        own = {port for each in containers for port in published(each)}
        for service, port, flag in ports:
            if port not in own and not is_free(ADDRESS, port):
                raise InputError(
                    f"{service}'s port {port}",
                    expected="a free port of this machine",
                    found="one that is taken",
                    remedy=f"Choose another: {next_flag(flag, port + 1)}.",
                )

    def command(self, *arguments: str, profiles: Iterable[str] = ()) -> list[str]:
        """A command of Compose for it."""
        file = ("--file", str(self.file), "--env-file", os.devnull)
        chosen = [word for each in profiles for word in ("--profile", each)]
        return ["docker", "compose", "--project-name", self.name, *file, *chosen, *arguments]

    def run(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        """Run such a command. Raises StackError, with the end of what it printed, where it fails."""
        done = run(command, self.subprocess_environment(variables))
        if done.returncode:
            verb = next(each for each in command if each in ("up", "down"))
            raise StackError(f"{self.what}: `docker compose {verb}` failed:\n{tail(done)}")

    def subprocess_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {**subprocess_environment(self.environment), **variables}

    def plan_end(self, steps: Iterable[str], outcome: str) -> StackEnd:
        """What removing it takes. `outcome`: what holds then, but that it is removed."""
        other = self.other_owner(self.containers())
        return StackEnd(
            stack=f"the {self.what} {self.name}",
            steps=tuple(steps),
            outcome=f"The {self.what} {self.name} is removed. {outcome}",
            owner=other,
            refusal=self._taken(other) if other else None,
        )

    def down(self, variables: Mapping[str, str], *, volumes: bool, profiles: Iterable[str] = ()) -> None:
        """Remove its containers and networks, and its volumes. Raises StackError where that fails."""
        check_compose(self.environment)
        arguments = ("down", "--remove-orphans", *(("--volumes",) if volumes else ()))
        self.run(self.command(*arguments, profiles=profiles), variables)

    def _taken(self, other: str) -> InputError:
        return InputError(
            f"the {self.what} '{self.name}'",
            expected=f"none of that name, or one of {self.owner}",
            found=f"one of {other}",
            remedy=f"Remove that one (`{next_command(f'{self.verb}-remove')}` with its home), or set WINNOW_PROJECT "
            "to another name for one beside it.",
        )


@dataclass(frozen=True)
class ComposeLogs:
    """Implements `winnow.platforms.stack.StackLogs`.

    Attributes:
        stack: what messages call the project.
        start: the verb that starts it.
        containers, environment: the project's, and the command's; asked when the logs are printed.
    """

    stack: str
    start: str
    command: list[str]
    containers: Callable[[], Sequence[Container]]
    environment: Callable[[], Mapping[str, str]]

    def render(self) -> str:
        return shlex.join(self.command)

    def print(self) -> int:
        environment = self.environment()
        check_compose(environment)
        if not self.containers():
            remedy = f"Start it: `{next_command(self.start)}`."
            raise InputError(self.stack, expected="containers", found="none", remedy=remedy)
        return subprocess.run(self.command, env=environment, check=False).returncode


def logs_arguments(service: str | None, lines: int, *, follow: bool) -> list[str]:
    """The arguments of Compose that print the logs of one service or all."""
    return ["logs", "--tail", str(lines), *(["--follow"] if follow else []), *([service] if service else [])]


def check_compose(environment: Mapping[str, str]) -> None:
    """Refuse a machine without Compose, or with one that is too old.

    Raises:
        InputError: says what is missing.
    """
    try:
        done = run(["docker", "compose", "version", "--short"], environment)
        found = done.stdout.strip() if done.returncode == 0 else "a docker command without it"
        numbers = tuple(int(part) for part in found.removeprefix("v").split("-")[0].split(".")[:2])
        if numbers >= _OLDEST_COMPOSE:
            return
    except FileNotFoundError:
        found = "no docker command"
    except ValueError:
        pass  # no version number
    raise InputError(
        "docker compose",
        expected="Docker Compose 2.20 or newer",
        found=found,
        remedy="Install Docker's Compose plugin; `docker compose version` has to work.",
    )


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


def containers_of(engine: docker.DockerClient, project: str) -> list[Container]:
    """All containers of a project, also those that have ended."""
    filters: dict[str, str | list[str] | bool] = {"label": f"{PROJECT}={project}"}
    return list(engine.containers.list(all=True, filters=filters, ignore_removed=True))


def volumes_of(engine: docker.DockerClient, label: str) -> list[str]:
    return sorted(str(volume.name) for volume in engine.volumes.list(filters={"label": label}))


def run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command, and keep what it prints."""
    return subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)


def tail(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "\n".join(lines[-LOG_LINES:])


def health(container: Container) -> str | None:
    return (container.attrs["State"].get("Health") or {}).get("Status")


def is_up(container: Container) -> bool:
    """Whether a service is healthy, or has done its work and exited without an error."""
    state = container.attrs["State"]
    return health(container) == "healthy" or (state["Status"], state["ExitCode"]) == ("exited", 0)


def published(container: Container) -> set[int]:
    """The ports of this machine that lead to it while it runs, as far as they are known."""
    asked, given = container.attrs["HostConfig"]["PortBindings"], container.attrs["NetworkSettings"]["Ports"]
    bindings = [each for ports in (asked, given) for found in (ports or {}).values() for each in found or ()]
    # A port that was asked for may be a range, or none, from which the engine chooses.
    return {int(each["HostPort"]) for each in bindings if each["HostPort"].isdecimal()}

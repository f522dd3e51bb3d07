"""Plans, starts and removes the stack as a Compose project on a Docker engine."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from winnow.config.errors import InputError, UnavailableError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.config.stack_record import AnyStack, forget_stack
from winnow.platforms import stack_env_file as env_file
from winnow.platforms import stack_variables as variables
from winnow.platforms.deployer import Say
from winnow.platforms.docker import stack_owner as owner
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.stack import START_TIMEOUT_S, EngineStack, check_compose
from winnow.platforms.docker.stack_plan import BUCKET, DockerStackPlan, plan_stack, project_for, to_end
from winnow.platforms.docker.stack_ports import choose_ports
from winnow.platforms.images import TRAIN_BASE, BuildOptions, Show, silent
from winnow.platforms.ports import is_free
from winnow.platforms.stack import MINIO, MLFLOW, POSTGRES, StackEnd
from winnow.platforms.stack_env_file import EnvFile

SERVICES = (MLFLOW, POSTGRES, MINIO, BUCKET)


@dataclass(frozen=True)
class ComposeLogs:
    """Implements `winnow.platforms.stack.StackLogs`."""

    command: list[str]
    print: Callable[[], int]

    def render(self) -> str:
        """See `StackLogs.render`."""
        return shlex.join(self.command)


class DockerStack:
    """Implements `winnow.platforms.stack.Stack`: the Compose project that is named, in use, or this folder's.

    Args:
        given: settings by name, with those that say which project is meant.
        in_use: the stack in use.
        environment: the caller's, for `docker` itself (DOCKER_HOST, PATH, …).

    Raises:
        InputError: there is no compose.yaml, or the environment file is another project's.
    """

    def __init__(
        self,
        given: Mapping[str, str],
        *,
        home: Path,
        in_use: AnyStack | None,
        folder: Path,
        say: Say,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._given = {name: text for name, text in given.items() if text}
        self._home, self._say, self._environment = home, say, environment
        self.project = project_for(self._given, in_use, folder)
        if not self.project.compose_file.is_file():
            raise InputError(
                str(self.project.compose_file),
                expected="the project's compose.yaml",
                found="no such file",
                remedy="Run this in the folder that holds it.",
            )

    @functools.cached_property
    def _live(self) -> EngineStack:
        return EngineStack(self.project, connect(self._environment), self._say, self._environment)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """See `Stack.lock`.

        Two first starts at once would each make secrets, and the volumes open with one set of them only. The lock is
        on the folder of the secrets, so that it leaves no file.
        """
        folder = next(each for each in self.project.env_file.parents if each.is_dir())
        sentence = f"waiting for another command that is changing the stack {self.project.name}"
        return locked(folder, on_wait=lambda: self._say(sentence))

    def plan(self, *, is_dry_run: bool = False) -> DockerStackPlan:
        """See `Stack.plan`."""
        try:
            live = self._live
        except UnavailableError:
            if not is_dry_run:
                raise
            unknown = f"whether the stack {self.project.name} and its volumes exist, and whose they are"
            return replace(self._planned([]), unknown=(f"{unknown}: no Docker engine answers",))
        volumes = live.volumes()
        owner.check_start(self.project, live.opened_by(), volumes, env_file.read(self.project.env_file))
        plan = self._planned(volumes)
        live.check(plan)
        return plan

    def start(self, plan: DockerStackPlan, timeout_s: float | None, show: Show = silent) -> None:
        """See `Stack.start`."""
        self._live.start(plan, timeout_s or START_TIMEOUT_S)

    def plan_end(self, *, volumes: bool) -> StackEnd:
        """See `Stack.plan_end`."""
        name, there = self.project.name, self._live.volumes()
        other = owner.other_folder(self.project, self._live.opened_by(), there, env_file.read(self.project.env_file))
        steps = [f"remove the containers and networks of the project {name}"]
        if volumes:
            steps.append(f"delete the volumes {', '.join(there) or '(there are none)'}")
            steps.append(f"delete the secrets in {self.project.env_file}")
        kept = f" Its data stays in {', '.join(there)}." if there else ""
        left = "gone, and its data with it." if volumes else f"removed.{kept}"
        return StackEnd(
            stack=f"the stack {name}",
            steps=tuple(steps),
            outcome=f"The stack {name} is {left} Runs and studies are kept in {self._home} again.",
            owner=other,
            refusal=owner.refusal_to_end(self.project, other),
        )

    def end(self, *, volumes: bool) -> list[str]:
        """See `Stack.end`."""
        names = self._live.ended_workers()
        file = env_file.read(self.project.env_file)
        self._live.remove(file, volumes=volumes)
        forget_stack(self._home, lambda used: owner.is_of(used, self.project))
        if volumes and file is not None:
            self._drop_secrets(file)
        return [f"left on the engine, since another home has started them: {', '.join(names)}"] if names else []

    def difference(self) -> NoReturn:
        """Raises InputError: Compose compares nothing."""
        raise InputError(
            "--platform",
            expected="a platform on which a stack can be compared, such as kubernetes",
            found="'docker'",
            remedy=f"See what would be done: `{next_command('mlflow-init', dry_run=True)}`.",
        )

    def logs(self, service: str | None, lines: int, *, follow: bool) -> ComposeLogs:
        """See `Stack.logs`."""
        if service is not None and service not in SERVICES:
            raise InputError(
                "--service", expected=f"one of {', '.join(SERVICES)}", found=f"'{service}'", remedy="Name one of them."
            )
        wanted = ["logs", "--tail", str(lines), *(["--follow"] if follow else []), *([service] if service else [])]
        is_there = self.project.env_file.is_file()
        command = self.project.command(*wanted, env_file=self.project.env_file if is_there else Path(os.devnull))
        return ComposeLogs(command, lambda: self._print(command))

    def secrets(self) -> NoReturn:
        """Raises InputError: `mlflow-init` alone makes them."""
        raise InputError(
            "--platform",
            expected="a platform on which a stack can be started by hand, such as kubernetes",
            found="'docker'",
            remedy=f"Start it with `{next_command('mlflow-init')}`, which makes its secrets.",
        )

    def _print(self, command: list[str]) -> int:
        live = self._live
        check_compose(self._environment)
        if not live.containers():
            raise InputError(
                f"the stack {self.project.name}",
                expected="containers",
                found="none",
                remedy=f"Start it: `{next_command('mlflow-init')}`.",
            )
        environment = to_end(self._environment, env_file.read(self.project.env_file))
        return subprocess.run(command, env=environment, check=False).returncode

    def _planned(self, volumes: list[str]) -> DockerStackPlan:
        file = self._env_file(volumes)
        ports, said = choose_ports(self._given, file, is_free)
        for line in said:
            self._say(line)
        file = variables.choose({**self._given, **ports}, file, variables.new_password)
        return plan_stack(self.project, file, BuildOptions.from_environment(self._environment, base=TRAIN_BASE))

    def _env_file(self, volumes: list[str]) -> EnvFile:
        """The environment file to start with. Raises InputError where volumes exist and it does not open them."""
        file = env_file.read(self.project.env_file)
        missing = variables.missing_secrets(file.variables() if file is not None else None)
        if volumes and missing:
            found = "no such file" if file is None else f"a file without {', '.join(missing)}"
            raise variables.secrets_lost(str(self.project.env_file), volumes, found, platform="docker")
        return file or EnvFile()

    def _drop_secrets(self, file: EnvFile) -> None:
        """Remove the secrets of volumes that are gone, and the file where nothing else is in it."""
        kept = env_file.without(file, frozenset({*variables.SECRETS, variables.USER}))
        if kept.own_text:
            env_file.write(self.project.env_file, kept)
        else:
            self.project.env_file.unlink(missing_ok=True)

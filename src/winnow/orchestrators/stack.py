"""The stack, from what a person sets to a tracking server that every verb uses: find it, start it, end it, read it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.orchestrators.collect import collect
from winnow.platforms import stack_env_file as env_file
from winnow.platforms import stack_record as record
from winnow.platforms.docker import stack_owner as owner
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.executor import DockerExecutor, DockerWorkers
from winnow.platforms.docker.stack import Stack, check_compose, check_studies, end, open_env_file
from winnow.platforms.docker.stack_plan import BUCKET, Project, StackPlan, plan_stack, project_for, to_end
from winnow.platforms.images import TRAIN_BASE, BuildOptions
from winnow.platforms.stack import MINIO, MLFLOW, POSTGRES
from winnow.platforms.stack_variables import choose
from winnow.tracking.store import prepare

SERVICES = (MLFLOW, POSTGRES, MINIO, BUCKET)


def find_project(given: Mapping[str, str], home: Path, folder: Path) -> Project:
    """The Compose project that is meant: the one that is set, else the one in use, else this folder's.

    Raises:
        InputError: there is no compose.yaml in the folder.
    """
    project = project_for(given, record.read_stack(home), folder)
    if not project.compose_file.is_file():
        raise InputError(
            str(project.compose_file),
            expected="the project's compose.yaml",
            found="no such file",
            remedy="Run this in the folder that holds it.",
        )
    return project


def open_stack(project: Project, say: Callable[[str], None]) -> Stack:
    """The stack of a project, there or not. Raises InputError where no engine answers."""
    return Stack(project, connect(), say)


def alone(project: Project, say: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
    """Lock a project while it is planned and changed; say so before waiting for another command.

    Two first starts at once would each make secrets, and the volumes open with one set of them only. The lock is on the
    folder of the secrets, so that it leaves no file.
    """
    folder = next(each for each in project.env_file.parents if each.is_dir())
    sentence = f"waiting for another command that is changing the stack {project.name}"
    return locked(folder, on_wait=lambda: say(sentence))


def plan(given: Mapping[str, str], stack: Stack) -> StackPlan:
    """What starting a stack takes, with secrets made for those that are not set.

    Raises:
        InputError: a setting is wrong, ports are taken, the stack is another folder's, or the secrets of volumes that
            are there are gone.
    """
    project, volumes = stack.project, stack.volumes()
    owner.check_start(project, stack.opened_by(), volumes, env_file.read(project.env_file))
    file = choose(given, open_env_file(project, volumes), lambda: secrets.token_urlsafe(24))
    planned = plan_stack(project, file, BuildOptions.from_environment(base=TRAIN_BASE))
    stack.check(planned)
    return planned


def start(stack: Stack, planned: StackPlan, home: Path, timeout_s: float) -> None:
    """Start a planned stack, wait until it answers, and have every later verb use it.

    Raises:
        StackError: a service does not come up.
        InputError: a database or server of the person's own does not answer.
    """
    stack.start(planned, timeout_s)
    prepare(planned.record.tracking_url)
    check_studies(planned.record.storage()[0])
    record.keep(home, planned.record)


def other_owner(stack: Stack) -> str:
    """Which other folder a stack belongs to, in words; empty where it is this one's or not there."""
    file = env_file.read(stack.project.env_file)
    return owner.other_folder(stack.project, stack.opened_by(), stack.volumes(), file)


def remove(stack: Stack, home: Path, *, volumes: bool) -> list[str]:
    """Remove a stack's containers and networks, with `volumes` its data and secrets too; verbs use files again.

    Finished sweeps are collected first, since later verbs do not know of them any more.

    Returns:
        What of workers is left on the engine, in words.
    """
    left = collect({"docker": DockerExecutor(DockerWorkers(image="", network=None), home)}, home)
    names = stack.ended_workers()
    if names:
        left.append(f"left on the engine, since another home has started them: {', '.join(names)}")
    end(home, stack, env_file.read(stack.project.env_file), volumes=volumes)
    return left


def logs_command(project: Project, service: str | None, lines: int, *, follow: bool) -> list[str]:
    """The command that prints a stack's logs.

    Raises:
        InputError: there is no such service.
    """
    if service is not None and service not in SERVICES:
        raise InputError(
            "--service", expected=f"one of {', '.join(SERVICES)}", found=f"'{service}'", remedy="Name one of them."
        )
    wanted = ["logs", "--tail", str(lines), *(["--follow"] if follow else []), *([service] if service else [])]
    is_there = project.env_file.is_file()
    return project.command(*wanted, env_file=project.env_file if is_there else Path(os.devnull))


def print_logs(stack: Stack, command: list[str]) -> int:
    """Run that command, and return its status. Raises InputError without a stack or Compose."""
    check_compose(os.environ)
    if not stack.containers():
        raise InputError(
            f"the stack {stack.project.name}",
            expected="containers",
            found="none",
            remedy=f"Start it: `{next_command('mlflow-init')}`.",
        )
    environment = to_end(os.environ, env_file.read(stack.project.env_file))
    return subprocess.run(command, env=environment, check=False).returncode

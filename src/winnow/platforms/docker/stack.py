"""The tracking stack on a Docker engine: one Compose project.

`docker compose` starts the services, waits until they are healthy, and removes them. This module refuses what Compose
would not: another folder's stack, lost secrets, taken ports, workers that still use the stack.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from winnow.config.errors import InputError, UnavailableError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.config.stack_record import AnyStack, forget_stack
from winnow.platforms import stack_variables as variables
from winnow.platforms.deployer import Say
from winnow.platforms.docker import env_file
from winnow.platforms.docker import stack_owner as owner
from winnow.platforms.docker.build import build
from winnow.platforms.docker.client import asking, connect
from winnow.platforms.docker.compose_project import (
    PROJECT,
    SERVICE,
    ComposeLogs,
    check_compose,
    containers_of,
    health,
    is_up,
    logs_arguments,
    published,
    run,
    tail,
    volumes_of,
)
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.docker.stack_plan import (
    BUCKET,
    DockerStackPlan,
    plan_stack,
    project_for,
    secrets_of,
    subprocess_environment,
    to_end,
)
from winnow.platforms.docker.stack_settings import choose, choose_ports
from winnow.platforms.images import TRAIN_BASE, BuildOptions, Show, silent
from winnow.platforms.labels import STACK, STUDY
from winnow.platforms.ports import is_free
from winnow.platforms.stack import LOG_LINES, MINIO, MLFLOW, POSTGRES, StackEnd, StackError, check_service, redacted
from winnow.tracking import store_check

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

SERVICES = (MLFLOW, POSTGRES, MINIO, BUCKET)
START_TIMEOUT_S = 180.0

_WHAT = "the stack"
_OPENED_BY = "com.docker.compose.project.environment_file"


class DockerStack:
    """Implements `winnow.platforms.stack.Stack`: the Compose project that is named, in use, or this folder's.

    Args:
        given: settings by name, including those that choose the project.
        environment: the caller's, for `docker` itself (DOCKER_HOST, PATH, …).
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
    def _engine(self) -> docker.DockerClient:
        return connect(self._environment)

    def lock(self) -> contextlib.AbstractContextManager[None]:
        # Two simultaneous first starts would each generate secrets, and the volumes open with only one set. The lock
        # is on the folder of the secrets, so it leaves no file behind.
        folder = next(each for each in self.project.env_file.parents if each.is_dir())
        sentence = f"waiting for another command that is changing the stack {self.project.name}"
        return locked(folder, on_wait=lambda: self._say(sentence))

    def plan(self, *, is_dry_run: bool = False) -> DockerStackPlan:
        try:
            volumes = self._volumes()
        except UnavailableError:
            if not is_dry_run:
                raise
            unknown = f"whether the stack {self.project.name} and its volumes exist, and who owns them"
            return replace(self._planned([]), unknown=(f"{unknown}: no Docker engine answers",))
        owner.check_start(self.project, self._opened_by(), volumes, env_file.read(self.project.env_file))
        plan = self._planned(volumes)
        check_compose(self._environment)
        self._check_name()
        self._check_ports(plan)
        return plan

    @asking(_WHAT)
    def start(self, plan: DockerStackPlan, timeout_s: float | None, show: Show = silent) -> None:
        env_file.write(self.project.env_file, plan.file)
        if plan.image is not None:
            self._say("building the MLflow server's image (minutes the first time, seconds afterwards)")
            build(plan.image, environment=self._environment)
        self._check_store(plan)
        for container in self._containers():
            # Compose would keep an unhealthy container and fail again. Data is in volumes.
            if health(container) == "unhealthy":
                container.remove(force=True)
        self._say(f"starting {', '.join(plan.services)} and waiting until they are healthy")
        limit = str(math.ceil(timeout_s or START_TIMEOUT_S))
        environment = subprocess_environment(self._environment)
        done = run([*plan.starts, "--wait-timeout", limit], environment)
        if not done.returncode:
            return
        waiting = [one.labels[SERVICE] for one in self._containers() if not is_up(one)] or [MLFLOW]
        wanted = ("logs", "--no-color", "--tail", str(LOG_LINES), *waiting)
        logs = run(self.project.command(*wanted, profiles=plan.profiles), environment)
        raise StackError(
            f"the stack: {', '.join(waiting)} failed, or did not become healthy within {limit} s. "
            f"`{next_command('compose-logs')}` shows more, `{next_command('mlflow-init')}` tries again, "
            f"`{next_command('mlflow-remove')}` removes the stack.\n"
            + redacted(f"{tail(done)}\n{logs.stdout}", secrets_of(plan.file)).rstrip()
        )

    def plan_end(self, *, volumes: bool) -> StackEnd:
        name, found = self.project.name, self._volumes()
        other = owner.other_folder(self.project, self._opened_by(), found, env_file.read(self.project.env_file))
        steps = [f"remove the containers and networks of the project {name}"]
        if volumes:
            steps.append(f"delete the volumes {', '.join(found) or '(there are none)'}")
            steps.append(f"delete the secrets in {self.project.env_file}")
        kept = f" Its data stays in {', '.join(found)}." if found else ""
        left = "gone, and its data with it." if volumes else f"removed.{kept}"
        return StackEnd(
            stack=f"the stack {name}",
            steps=tuple(steps),
            outcome=f"The stack {name} is {left} Runs and studies are kept in {self._home} again.",
            owner=other,
            refusal=owner.refusal_to_end(self.project, other),
        )

    @asking(_WHAT)
    def end(self, *, volumes: bool) -> list[str]:
        check_compose(self._environment)
        self._check_unused()
        left = self._ended_workers()
        file = env_file.read(self.project.env_file)
        arguments = ["down", "--remove-orphans", *(["--volumes"] if volumes else [])]
        done = run(self._reading(*arguments), to_end(self._environment, file))
        if done.returncode:
            raise StackError(f"`docker compose down` failed:\n{redacted(tail(done), secrets_of(file or EnvFile()))}")
        forget_stack(self._home, lambda used: owner.is_of(used, self.project))
        if volumes and file is not None:
            kept = env_file.without(file, frozenset({*variables.SECRETS, variables.USER}))
            if kept.own_text:
                env_file.write(self.project.env_file, kept)
            else:
                self.project.env_file.unlink(missing_ok=True)
        return [f"left on the engine, since another home started them: {', '.join(left)}"] if left else []

    def difference(self) -> NoReturn:
        """Raises InputError: Compose compares nothing."""
        raise InputError(
            "--platform",
            expected="a platform on which a stack can be compared, such as kubernetes",
            found="'docker'",
            remedy=f"See what would be done: `{next_command('mlflow-init', dry_run=True)}`.",
        )

    def logs(self, service: str | None, lines: int, *, follow: bool) -> ComposeLogs:
        check_service(service, SERVICES)
        return ComposeLogs(
            f"the stack {self.project.name}",
            "mlflow-init",
            self._reading(*logs_arguments(service, lines, follow=follow)),
            self._containers,
            lambda: to_end(self._environment, env_file.read(self.project.env_file)),
        )

    def secrets(self) -> NoReturn:
        """Raises InputError: only `mlflow-init` makes them."""
        raise InputError(
            "--platform",
            expected="a platform on which a stack can be started by hand, such as kubernetes",
            found="'docker'",
            remedy=f"Start it with `{next_command('mlflow-init')}`, which makes its secrets.",
        )

    @asking(_WHAT)
    def _volumes(self) -> list[str]:
        return volumes_of(self._engine, f"{STACK}={self.project.name}")

    @asking(_WHAT)
    def _containers(self) -> list[Container]:
        return containers_of(self._engine, self.project.name)

    def _opened_by(self) -> Path | None:
        """The environment file that Compose noted on the containers; None without containers."""
        noted = [one.labels.get(_OPENED_BY, "") for one in self._containers() if one.labels.get(STACK)]
        return next((Path(each) for each in noted if each), None)

    def _ended_workers(self) -> list[str]:
        """Exited containers of worker groups on the stack's networks."""
        networks = [str(each.name) for each in self._networks()]
        filters: dict[str, str | list[str] | bool] = {"label": STUDY, "status": "exited", "network": networks}
        found = self._engine.containers.list(all=True, filters=filters, ignore_removed=True) if networks else []
        return sorted(str(each.name) for each in found)

    def _networks(self) -> list[Any]:
        return list(self._engine.networks.list(filters={"label": f"{STACK}={self.project.name}"}))

    def _check_name(self) -> None:
        foreign = [one for one in self._containers() if one.labels.get(STACK) != self.project.name]
        if foreign:
            raise InputError(
                f"the Compose project '{self.project.name}'",
                expected="a name that no other project has",
                found=f"the container {foreign[0].name} of another",
                remedy="Set WINNOW_PROJECT to another name.",
            )

    def _check_ports(self, plan: DockerStackPlan) -> None:
        """Refuse ports that are taken by anything but the stack itself, all in one error."""
        own = {one.labels.get(SERVICE): published(one) for one in self._containers() if one.status == "running"}
        planned = [each for each in plan.ports if each.number not in own.get(each.service, ())]
        taken = [each for each in planned if not is_free(each.address, each.number)]
        if taken:
            others = next_command("mlflow-init", **{each.setting: ... for each in taken})
            free = "Free it, or choose another" if len(taken) == 1 else "Free them, or choose others"
            raise InputError(
                " and ".join(each.setting for each in taken),
                expected="a free port" if len(taken) == 1 else "free ports",
                found=" and ".join(f"{each.address}:{each.number}, which is taken" for each in taken),
                remedy=f"{free}: `{others}`.",
            )

    def _check_store(self, plan: DockerStackPlan) -> None:
        """Refuse an artifact store that MLflow's container cannot open with its settings and packages."""
        destination = plan.file.variables().get(variables.DESTINATION, "")
        if not variables.can_check(destination):
            return
        self._say(f"opening {destination}")
        done = run(plan.checks_store, subprocess_environment(self._environment))
        if done.returncode in (1, store_check.NO_PACKAGE):
            said = redacted(done.stdout.strip() or tail(done), secrets_of(plan.file)).splitlines()[-1]
            raise variables.closed_store(destination, said, lacks_package=done.returncode == store_check.NO_PACKAGE)
        if done.returncode:
            raise StackError(f"`docker compose run` failed:\n{redacted(tail(done), secrets_of(plan.file))}")

    def _check_unused(self) -> None:
        for network in self._networks():
            network.reload()
            others = [one for one in network.containers if one.labels.get(PROJECT) != self.project.name]
            if others:
                raise InputError(
                    f"the network {network.name}",
                    expected="no containers but the stack's own",
                    found=", ".join(sorted(str(one.name) for one in others)),
                    remedy=f"Stop those first: {' and '.join(owner.ways_to_stop([one.labels for one in others]))}.",
                )

    def _reading(self, *arguments: str) -> list[str]:
        """A Compose command that also works without the environment file."""
        file = self.project.env_file
        return self.project.command(*arguments, env_file=file if file.is_file() else Path(os.devnull))

    def _planned(self, volumes: list[str]) -> DockerStackPlan:
        """The plan. Raises InputError where volumes exist and the environment file does not open them."""
        file = env_file.read(self.project.env_file)
        missing = variables.missing_secrets(file.variables() if file is not None else None)
        if volumes and missing:
            found = "no such file" if file is None else f"a file without {', '.join(missing)}"
            raise variables.secrets_lost(str(self.project.env_file), volumes, found, platform="docker")
        file = file or EnvFile()
        ports, moved = choose_ports(self._given, file, is_free)
        for line in moved:
            self._say(line)
        file = choose({**self._given, **ports}, file, variables.new_password)
        return plan_stack(self.project, file, BuildOptions.from_environment(self._environment, base=TRAIN_BASE))

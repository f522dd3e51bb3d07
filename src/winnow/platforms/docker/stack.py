"""The stack on a Docker engine: starts what is planned, waits until it is healthy, and removes it.

`docker compose` creates and removes the containers; the engine says what they do. Everything that can be refused is
refused before anything is created.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.platforms import stack_env_file as env_file
from winnow.platforms.docker.build import build
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.stack_health import Health, container_from, judge
from winnow.platforms.docker.stack_plan import DockerStackPlan, Project, secrets_of, subprocess_environment, to_end
from winnow.platforms.labels import STACK, STUDY
from winnow.platforms.ports import is_free
from winnow.platforms.stack import LOG_LINES, MLFLOW, StackError, redacted
from winnow.platforms.stack_env_file import EnvFile

if TYPE_CHECKING:
    import docker

START_TIMEOUT_S = 180.0

_WHAT = "the stack"
_OLDEST_COMPOSE = (2, 20)
_PROJECT, _SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_OPENED_BY = "com.docker.compose.project.environment_file"


class EngineStack:
    """One project on one engine. Every method raises EngineError where that fails, UnreachableError where it is away.

    Args:
        engine: a connected client (`winnow.platforms.docker.client.connect`).
        say: receives what is being done, a line each.
        environment: the caller's, for `docker` itself (DOCKER_HOST, PATH, …).
    """

    def __init__(
        self,
        project: Project,
        engine: docker.DockerClient,
        say: Callable[[str], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.project = project
        self._engine = engine
        self._say = say
        self._environment = environment

    @asking(_WHAT)
    def volumes(self) -> list[str]:
        """Names of the volumes that exist."""
        found = self._engine.volumes.list(filters={"label": f"{STACK}={self.project.name}"})
        return sorted(str(volume.name) for volume in found)

    @asking(_WHAT)
    def containers(self) -> list[Any]:
        """All containers of the project, including those that have exited."""
        return list(
            self._engine.containers.list(
                all=True, filters={"label": f"{_PROJECT}={self.project.name}"}, ignore_removed=True
            )
        )

    def opened_by(self) -> Path | None:
        """The environment file that Compose noted on the containers; None without containers."""
        noted = [one.labels.get(_OPENED_BY, "") for one in self.containers() if one.labels.get(STACK)]
        # Compose would separate several files by commas; the stack has one.
        return next((Path(each) for each in noted if each), None)

    @asking(_WHAT)
    def ended_workers(self) -> list[str]:
        """Exited containers of worker groups on the stack's networks."""
        networks = self._engine.networks.list(filters={"label": f"{STACK}={self.project.name}"})
        named = [str(each.name) for each in networks]
        filters: dict[str, str | list[str] | bool] = {"label": STUDY, "status": "exited", "network": named}
        found = self._engine.containers.list(all=True, filters=filters, ignore_removed=True) if networks else []
        return sorted(str(each.name) for each in found)

    @asking(_WHAT)
    def check(self, plan: DockerStackPlan) -> None:
        """Refuse what cannot work, before anything is created.

        Raises:
            InputError: the project's name is another's, or ports are taken.
        """
        check_compose(self._environment)
        foreign = [one for one in self.containers() if one.labels.get(STACK) != self.project.name]
        if foreign:
            raise InputError(
                f"the Compose project '{self.project.name}'",
                expected="a name that no other project has",
                found=f"the container {foreign[0].name} of another",
                remedy="Set WINNOW_PROJECT to another name.",
            )
        running = {one.labels.get(_SERVICE): _published(one) for one in self.containers() if one.status == "running"}
        planned = [each for each in plan.ports if each.number not in running.get(each.service, ())]
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

    @asking(_WHAT)
    def start(self, plan: DockerStackPlan, timeout_s: float = START_TIMEOUT_S) -> None:
        """Build, start and wait; harmless where everything runs already.

        Raises:
            BuildFailedError: the image was not built.
            StackError: a service failed, or was not healthy within `timeout_s` seconds; shows its last log lines.
        """
        env_file.write(self.project.env_file, plan.file)
        if plan.image is not None:
            self._say("building the MLflow server's image (minutes on the first time, a moment afterwards)")
            build(plan.image, environment=self._environment)
        self._pull(plan)
        self._drop_failed()
        self._up(plan, timeout_s)

    @asking(_WHAT)
    def remove(self, file: EnvFile | None, *, volumes: bool) -> None:
        """Remove containers and networks, and where asked the volumes too.

        Raises:
            InputError: containers that are no part of the stack, such as workers, are on its network; or no Compose.
            StackError: Compose could not do it.
        """
        check_compose(self._environment)
        self._check_unused()
        arguments = ["down", "--remove-orphans", *(["--volumes"] if volumes else [])]
        known = self.project.env_file if file is not None else Path(os.devnull)
        environment = to_end(self._environment, file)
        self._compose(self.project.command(*arguments, env_file=known), file or EnvFile(), environment)
        for name in self.volumes() if volumes else ():
            self._engine.volumes.get(name).remove()

    def _check_unused(self) -> None:
        for network in self._engine.networks.list(filters={"label": f"{STACK}={self.project.name}"}):
            network.reload()
            others = [one for one in network.containers if one.labels.get(_PROJECT) != self.project.name]
            if others:
                raise InputError(
                    f"the network {network.name}",
                    expected="no containers but the stack's own",
                    found=", ".join(sorted(str(one.name) for one in others)),
                    remedy=f"Stop those first: `{next_command('cancel', study=...)}` for a study's workers.",
                )

    def _pull(self, plan: DockerStackPlan) -> None:
        """Pull missing images before the start, whose timeout a pull of minutes would use up."""
        import docker

        listed = self._compose(self.project.command("config", "--images", profiles=plan.profiles), plan.file)
        missing = []
        for image in sorted(set(listed.split())):
            try:
                self._engine.images.get(image)
            except docker.errors.ImageNotFound:
                missing.append(image)
        if missing:
            self._say(f"pulling {', '.join(missing)}")
            self._compose(
                self.project.command("pull", "--quiet", "--ignore-buildable", profiles=plan.profiles), plan.file
            )

    def _drop_failed(self) -> None:
        """Remove containers that failed last time: Compose would leave them as they are. Data is in volumes."""
        for container in self.containers():
            service = container.labels.get(_SERVICE, "")
            if judge([service], [container_from(container.attrs)])[service] is Health.FAILED:
                container.remove(force=True)

    def _up(self, plan: DockerStackPlan, timeout_s: float) -> None:
        """Have Compose start one service after another, each once the one before is healthy; say what it waits for."""
        deadline = time.monotonic() + timeout_s
        with _running(plan.starts, subprocess_environment(self._environment)) as starting:
            said: list[str] = []
            while True:
                health = judge(plan.services, [container_from(one.attrs) for one in self.containers()])
                waiting = [service for service, state in health.items() if state is not Health.READY]
                failed = [service for service, state in health.items() if state is Health.FAILED]
                status = starting.poll()
                if not waiting and status == 0:
                    return
                if status:
                    raise self._failure(plan, failed or waiting, "failed", starting.tail())
                # While Compose runs, containers come and go, and it reports a failed one itself.
                if failed and status == 0:
                    raise self._failure(plan, failed, "failed")
                if time.monotonic() > deadline:
                    raise self._failure(plan, failed or waiting, f"not healthy after {timeout_s:.0f} s")
                if waiting and waiting != said:
                    self._say(f"waiting for {', '.join(waiting)}")
                    said = waiting
                time.sleep(0.5)

    def _failure(self, plan: DockerStackPlan, services: list[str], why: str, output: str = "") -> StackError:
        logs = [self._last_lines(one) for one in self.containers() if one.labels.get(_SERVICE) in services]
        said = "\n".join(part for part in (output, *logs) if part)
        return StackError(
            f"the stack: {', '.join(services) or MLFLOW} {why}. "
            f"`{next_command('compose-logs')}` shows more; `{next_command('mlflow-init')}` tries again, "
            f"`{next_command('mlflow-remove')}` takes it away.\n{redacted(said, secrets_of(plan.file))}".rstrip()
        )

    def _last_lines(self, container: Any) -> str:
        import docker

        try:
            text = container.logs(tail=LOG_LINES).decode(errors="replace").rstrip()
        except docker.errors.NotFound:
            return ""
        return f"--- last lines of {container.labels[_SERVICE]} ---\n{text}"

    def _compose(self, command: list[str], file: EnvFile, environment: Mapping[str, str] | None = None) -> str:
        """Run a command to its end and return its output.

        Raises:
            StackError: it failed; shows its last lines.
        """
        asked = environment or subprocess_environment(self._environment)
        done = subprocess.run(command, env=dict(asked), capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            shown = redacted("\n".join(lines[-LOG_LINES:]), secrets_of(file))
            raise StackError(f"`docker compose {_verb(command)}` failed:\n{shown}")
        return done.stdout


def check_compose(environment: Mapping[str, str]) -> None:
    """Refuse a machine without Compose, or with one that is too old.

    Raises:
        InputError: says what is missing.
    """
    found = "none"
    try:
        done = subprocess.run(
            ["docker", "compose", "version", "--short"],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        found = done.stdout.strip() if done.returncode == 0 else "a docker command without it"
        numbers = tuple(int(part) for part in found.removeprefix("v").split("-")[0].split(".")[:2])
        if numbers >= _OLDEST_COMPOSE:
            return
    except FileNotFoundError:
        found = "no docker command"
    except (ValueError, subprocess.TimeoutExpired):
        pass
    raise InputError(
        "docker compose",
        expected="Docker Compose 2.20 or newer",
        found=found,
        remedy="Install Docker's Compose plugin; `docker compose version` has to work.",
    )


class _Running:
    """A running command. Its output goes to a file: an unread pipe would fill up and block it."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[str]) -> None:
        self._process = process
        self._output = output

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def tail(self) -> str:
        """The last lines that it has printed."""
        self._output.seek(0)
        return "\n".join(self._output.read().splitlines()[-LOG_LINES:])


@contextmanager
def _running(command: list[str], environment: Mapping[str, str]) -> Iterator[_Running]:
    """Start a command; terminate it at the end of the `with`."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield _Running(process, output)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def _verb(command: list[str]) -> str:
    known = ("build", "pull", "up", "down", "config")
    return next((part for part in command[2:] if part in known), "")


def _published(container: Any) -> set[int]:
    bindings = container.attrs["NetworkSettings"]["Ports"] or {}
    return {int(binding["HostPort"]) for found in bindings.values() for binding in found or ()}

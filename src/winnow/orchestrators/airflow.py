"""Airflow on a platform (`winnow.platforms.airflow_stack.AirflowStack`), or on this machine without Docker.

On this machine it is `airflow standalone`, from an environment of its own, and ends whole. A signal to its process
group would not do: Airflow gives every task a group of its own, and a task's verb is in a session of its own, since it
outlives its task. So all processes of Airflow's session end, and those of the sessions of running verbs. Deployments
that a verb has left serving go on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from winnow.config.atomic_write import replace_text
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.config.interrupts import treat_sigterm_as_interrupt
from winnow.config.next_command import next_command, next_flag
from winnow.config.own_files import own_folder
from winnow.config.private import make_home
from winnow.config.settings import Settings, home_folder
from winnow.config.tools import tool_python
from winnow.orchestrators.stack import permitted
from winnow.platforms.airflow_stack import (
    CONFIG,
    DAGS,
    PLUGINS,
    SECRETS,
    USER,
    AirflowRequest,
    AirflowStack,
    connection,
    keep_secrets,
    known_secrets,
    secrets_file,
)
from winnow.platforms.deployer import Say
from winnow.platforms.images import Show, silent, with_route
from winnow.platforms.interrupts import uninterrupted
from winnow.platforms.ports import is_free
from winnow.platforms.stack import LOG_LINES, Plan, StackEnd, StackLogs
from winnow.platforms.table import platform_for


def init(
    platform: str,
    request: AirflowRequest,
    *,
    say: Say,
    timeout_s: float,
    registry: str = "",
    is_dry_run: bool = False,
    show: Show = silent,
) -> Plan:
    """Start Airflow beside a project. See `winnow.api.airflow_init`."""
    environment = with_route(os.environ, registry=registry)
    stack = _stack(platform, say, environment)
    plan = stack.plan(request, is_dry_run=is_dry_run)
    if not is_dry_run:
        make_home(home_folder(environment))
        stack.start(plan, timeout_s, show)
    return plan


def remove(*, say: Say, volumes: bool = False, is_forced: bool = False, is_dry_run: bool = False) -> StackEnd:
    """Remove the Airflow on Docker. See `winnow.api.airflow_remove`."""
    stack = _stack("docker", say)
    plan = permitted(stack.plan_end(volumes=volumes), say, is_forced=is_forced)
    if not is_dry_run:
        stack.end(volumes=volumes)
    return plan


def logs(*, say: Say, service: str | None = None, lines: int = 100, follow: bool = False) -> StackLogs:
    """The last lines of its services on Docker. Raises InputError like `AirflowStack.logs`."""
    return _stack("docker", say).logs(service, lines, follow=follow)


def _stack(platform: str, say: Say, environment: Mapping[str, str] = os.environ) -> AirflowStack:
    settings = Settings.from_environment(environment)
    return platform_for(platform, settings, environment).airflow_stack(folder=Path(), say=say)


HOST = "127.0.0.1"
ENDS_WITHIN_S = 15.0
_RUNNER = "winnow_airflow/runner.py"
"""The script that runs a verb for a task: `python runner.py FOLDER COMMAND…`."""
_OWN_SECRETS = tuple(name for name in SECRETS if name.startswith("AIRFLOW__"))


class AirflowError(WinnowError):
    """Airflow ended, or did not become healthy."""


@dataclass(frozen=True)
class LocalAirflow:
    """An Airflow of this machine that is planned and not started.

    Attributes:
        home: Airflow's folder: its database, its logs, the file with the password of the user admin.
        variables: for its processes; secrets are not among them.
    """

    command: tuple[str, ...]
    home: Path
    secrets_file: Path
    port: int
    variables: Mapping[str, str] = field(repr=False)

    @property
    def address(self) -> str:
        """Where its page and its REST API are."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What all of its processes print."""
        return self.home / "standalone.log"

    @property
    def passwords(self) -> Path:
        """Airflow's file of users and passwords."""
        return self.home / "simple_auth_manager_passwords.json.generated"

    def render(self) -> str:
        """The plan for a person."""
        shown = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.variables.items())
        made = f"write {self.secrets_file} and {self.passwords} (0600) unless they exist"
        return f"{made}\nrun {shown} {shlex.join(self.command)}\n"


def plan(
    request: AirflowRequest,
    dags: Path | None = None,
    *,
    folder: Path,
    environment: Mapping[str, str] = os.environ,
) -> LocalAirflow:
    """Plan an Airflow for a project; nothing is changed.

    Args:
        dags: the folder of DAGs; by default airflow/dags of the project.
        folder: the project's, in which verbs run.

    Raises:
        InputError: there is no such folder, Airflow is not installed, or the port is taken.
    """
    home, found = home_folder(environment), (folder / (dags or DAGS)).absolute()
    if not found.is_dir():
        raise InputError(
            next_flag("dags"),
            expected="the folder of the project's DAGs",
            found=f"no folder at {found}",
            remedy=f"Make DAGs there with `{next_command('airflow-dags', config=...)}`, or name another.",
        )
    python = tool_python("airflow", home, "airflow-local", environment)
    if not is_free(HOST, request.port):
        raise InputError(
            f"port {request.port}",
            expected="a free port of this machine",
            found="one that is taken",
            remedy=f"Choose another: {next_flag('port', request.port + 1)}.",
        )
    secret = secrets_file(home, "standalone")
    own = own_folder(folder.absolute(), str(CONFIG), str(PLUGINS))
    return LocalAirflow(
        command=(str(python.with_name("airflow")), "standalone"),
        home=secret.parent,
        secrets_file=secret,
        port=request.port,
        variables={
            "AIRFLOW_HOME": str(secret.parent),
            "AIRFLOW_CONFIG": str(own / CONFIG),
            "AIRFLOW__CORE__DAGS_FOLDER": str(found),
            # Not as Airflow's plugins folder: each file below that is imported by its bare name, such as `operator`.
            "PYTHONPATH": str(own / PLUGINS),
            "AIRFLOW__CORE__PARALLELISM": str(request.parallelism),
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(request.port),
            "AIRFLOW__API__BASE_URL": f"http://{HOST}:{request.port}",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{request.port}/execution/",
            # Servers of logs that no one asks here; any free port, so that two Airflows do not meet.
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
            **connection(folder.absolute(), str(Path(sys.executable).with_name("winnow"))),
            # `standalone` finds its own command by it.
            "PATH": f"{python.parent}{os.pathsep}{environment.get('PATH', os.defpath)}",
        },
    )


def run(
    plan: LocalAirflow,
    say: Callable[[str], None],
    timeout_s: float,
    *,
    environment: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
) -> None:
    """Start it, say where it is once it is healthy, and wait until Ctrl-C or SIGTERM; then end all of its processes.

    Raises AirflowError if it ended, or did not become healthy in time.
    """
    clock = clock or Clock()
    make_home(home_folder(environment))
    kept = known_secrets(plan.secrets_file)
    keep_secrets(plan.secrets_file, kept)
    said_once = _new_password(plan.passwords)
    treat_sigterm_as_interrupt()
    own = {name: kept[name] for name in _OWN_SECRETS}
    pid = _spawn(plan, {**environment, **plan.variables, **own})
    try:
        say(f"starting Airflow (a first start takes half a minute); its output: {plan.log}")
        _await_healthy(plan, pid, clock, timeout_s)
        say(f"Airflow   {plan.address}")
        say(f"User      {USER}, with the password{said_once} in {plan.passwords}")
        say("Press Ctrl-C to stop.")
        _has_ended(pid, options=0)
        raise AirflowError(f"Airflow has ended. {_end_of(plan.log)}")
    except KeyboardInterrupt:
        say("stopping Airflow")
    finally:
        with uninterrupted():
            _end(pid, plan.home.parent, clock)


def _new_password(file: Path) -> str:
    """Make the password unless there is one, and return it to be shown, as `standalone` itself shows it once."""
    if file.exists():
        return ""
    password = secrets.token_urlsafe(12)
    replace_text(file, json.dumps({USER: password}) + "\n", mode=0o600)
    return f" {password}, which is kept"


def _end(pid: int, jobs: Path, clock: Clock) -> None:
    """Send SIGTERM to Airflow and Ctrl-C to its verbs, and SIGKILL to what is left after a while."""
    deadline = clock.now() + ENDS_WITHIN_S
    sessions = {pid: signal.SIGTERM, **dict.fromkeys(_verbs(jobs), signal.SIGINT)}
    told: set[int] = set()
    while found := [each for each in psutil.process_iter(["status"]) if _session(each) in sessions]:
        is_late = clock.now() > deadline
        for each in found:
            if is_late or each.pid not in told:
                told.add(each.pid)
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGKILL if is_late else sessions[_session(each)])
        _has_ended(pid)
        clock.sleep(0.1)


def _verbs(jobs: Path) -> list[int]:
    """The leaders of the sessions of running verbs: those whose folder is one of `jobs`."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        words = each.info["cmdline"] or []
        folders = [Path(folder) for script, folder in itertools.pairwise(words) if script.endswith(_RUNNER)]
        if any(jobs in folder.parents for folder in folders):
            found.append(each.pid)
    return found


def _session(process: psutil.Process) -> int:
    """The session of a process; -1 of one that has ended, reaped or not."""
    try:
        return -1 if process.info["status"] == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _spawn(plan: LocalAirflow, environment: Mapping[str, str]) -> int:
    """Start it in a session of its own: a terminal's Ctrl-C reaches this process alone."""
    command = shutil.which(plan.command[0]) or plan.command[0]
    log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        return os.posix_spawn(command, list(plan.command), dict(environment), file_actions=actions, setsid=True)
    finally:
        os.close(log)


def _await_healthy(plan: LocalAirflow, pid: int, clock: Clock, timeout_s: float) -> None:
    """Wait until all parts say that they are healthy. Raises AirflowError."""
    deadline = clock.now() + timeout_s
    while not _is_healthy(plan.address):
        if _has_ended(pid):
            raise AirflowError(f"Airflow ended while it started. {_end_of(plan.log)}")
        if clock.now() > deadline:
            raise AirflowError(f"Airflow is not healthy after {timeout_s:.0f} s. {_end_of(plan.log)}")
        clock.sleep(0.5)


def _is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/v2/monitor/health", timeout=5) as answer:  # nosec B310
            parts = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(part["status"] == "healthy" for part in parts.values())


def _has_ended(pid: int, options: int = os.WNOHANG) -> bool:
    """Whether a child has ended; it is reaped then."""
    try:
        return os.waitpid(pid, options)[0] == pid
    except ChildProcessError:
        return True


def _end_of(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    return f"The end of {log}:\n" + "\n".join(f"    {line}" for line in lines)

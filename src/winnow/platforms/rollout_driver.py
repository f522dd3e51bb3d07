"""Drive a rollout in a process of its own, which goes on when the command that began it, or its terminal, is gone.

The process runs `winnow rollout-resume`: all that it needs to know is in the deployment's record.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RolloutDriver:
    """What drives a rollout from now on.

    Attributes:
        what: a process or a Job, by its number or name.
        log: the path of its log, or the command that shows it.
        platform: of the deployment.
    """

    what: str
    log: str
    platform: str


def arguments(name: str, platform: str) -> list[str]:
    """The arguments of `winnow` that go on with a deployment's running rollout."""
    return ["rollout-resume", "--name", name, "--platform", platform, "--as-driver"]


LOG = "WINNOW_DRIVER_LOG"
"""The variable that names the log of a detached process."""


def this_process() -> str:
    """What others are told of the process that drives a rollout."""
    log = os.environ.get(LOG)
    return f"process {os.getpid()}" + (f", whose log is {log}" if log else "")


def start_process(name: str, platform: str, home: Path, command: Sequence[str] = ()) -> RolloutDriver:
    """Start a driver as a process of this machine, in a session of its own, with its log below `home`.

    Args:
        command: instead of this installation's `winnow`, for tests.

    Raises:
        OSError: the log cannot be written.
    """
    log = home.absolute() / "deployments" / "drivers" / f"{platform}-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)
    command = [*(command or (sys.executable, "-m", "winnow")), *arguments(name, platform)]
    # A child that this process never waits for; `Popen` would warn of it.
    process = os.posix_spawn(
        command[0],
        command,
        {**os.environ, "PYTHONUNBUFFERED": "1", LOG: str(log)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_APPEND, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return RolloutDriver(f"process {process}", str(log), platform)

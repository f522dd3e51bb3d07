"""Drive a rollout in a process of its own, which goes on when the command that began it, or its terminal, is gone.

The process runs `winnow rollout-resume`: all that it needs to know is in the deployment's record.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow.platforms.process import spawn_detached


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

    `command`: instead of this installation's `winnow`, for tests. Raises OSError where the log cannot be written.
    """
    log = home.absolute() / "deployments" / "drivers" / f"{platform}-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [*(command or (sys.executable, "-m", "winnow")), *arguments(name, platform)]
    process = spawn_detached(command, log, {**os.environ, "PYTHONUNBUFFERED": "1", LOG: str(log)})
    return RolloutDriver(f"process {process.pid}", str(log), platform)

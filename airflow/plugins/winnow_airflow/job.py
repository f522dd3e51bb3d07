"""A verb of winnow that runs beside Airflow, and goes on where the task that started it dies."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow_airflow import runner

CLOSED = "closed"
TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Job:
    """A folder with a verb's output, log and exit status.

    Attributes:
        folder: equal for all tries of a task, so that a try finds what an earlier one has started.
    """

    folder: Path

    def status(self) -> int | None:
        """The exit status; None while it runs, before it is started, and where its process was killed."""
        try:
            return int((self.folder / runner.STATUS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def is_running(self) -> bool:
        """Whether its process holds the lock."""
        try:
            lock = (self.folder / runner.LOCK).open()
        except FileNotFoundError:
            return False
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def close(self) -> None:
        """Note that a task has read how it ended, so that the task starts anew where a user clears it."""
        (self.folder / CLOSED).touch()

    def is_closed(self) -> bool:
        """Whether a task has read how it ended."""
        return (self.folder / CLOSED).exists()

    def start(self, command: Sequence[str], project: Path, environment: Mapping[str, str]) -> None:
        """Start the command anew in a session of its own. What an earlier call has left is removed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        # -I: modules beside the script are not taken for those of the standard library.
        script = [sys.executable, "-I", str(Path(runner.__file__)), str(self.folder), *command]
        process = subprocess.Popen(
            script,
            cwd=project,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not (self.folder / runner.PID).exists() and process.poll() is None:
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Send Ctrl-C to the command, as at a terminal: winnow stops and loses nothing."""
        if not self.is_running():
            return
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int((self.folder / runner.PID).read_text(encoding="utf-8")), signal.SIGINT)

    def output(self) -> str:
        """What it has printed to standard output."""
        return self._text(runner.OUT)

    def log(self, since: int = 0) -> tuple[str, int]:
        """What it has printed to standard error from a byte on, the last 64 KiB at most, and the byte after it."""
        try:
            with (self.folder / runner.LOG).open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(since, end - TAIL_BYTES))
                return file.read().decode("utf-8", "replace"), end
        except FileNotFoundError:
            return "", since

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""


def job_of(home: Path, dag: str, run: str, task: str, index: int = -1) -> Job:
    """The job of a task in a run of a DAG; all tries have the same."""
    named = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", part)[:60] for part in (dag, run, task))
    digest = hashlib.sha256("\0".join((dag, run, task, str(index))).encode()).hexdigest()[:8]
    return Job(home / "airflow" / f"{named}-{digest}")


def command_of(winnow: str, verb: str, flags: Mapping[str, object]) -> list[str]:
    """A verb with its flags: True is a switch; False, None and empty texts are left out; lists repeat the flag."""
    command = [winnow, *verb.split()]
    for name, value in flags.items():
        flag = "--" + name.replace("_", "-")
        values = value if isinstance(value, list | tuple) else [value]
        for each in values:
            if each is True:
                command.append(flag)
            elif each is not None and each is not False and each != "":
                command += [flag, str(each)]
    return command

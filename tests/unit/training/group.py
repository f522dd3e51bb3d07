"""A supervisor's side of a group, for tests: starts real ranks, sends jobs and reads answers."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from winnow.config.experiment import Experiment
from winnow.config.inheritance import is_of_a_world
from winnow.data.sources import load_data
from winnow.training.fork_client import ForkServer
from winnow.training.launch import GroupFiles, Launch, plan_ranks
from winnow.training.messages import (
    Assignment,
    FoldFailed,
    FoldScored,
    FoldsTrained,
    FromRank,
    Progress,
    Ready,
    Stop,
    ToRank,
)
from winnow.worker.ranks import Process, start_process


def write_files(folder: Path, experiment: Experiment, data_sha256: str | None = None) -> GroupFiles:
    """A group's folder with its experiment."""
    # Socket names are short: the test's own folder may be too deep.
    files = GroupFiles(Path(f"/tmp/winnow-test-{os.getpid()}-{time.time_ns()}"), folder / "experiment.json", folder)
    as_json = msgspec.Raw(experiment.model_dump_json(by_alias=True).encode())
    digest = load_data(experiment.data).sha256 if data_sha256 is None else data_sha256
    files.experiment.write_bytes(msgspec.json.encode(Assignment(as_json, digest)))
    return files


def environment(launch: Launch) -> dict[str, str]:
    """This process's environment as the launch wants it."""
    return {name: value for name, value in os.environ.items() if not is_of_a_world(name)} | launch.env


class Group:
    """Real ranks on a real socket. Use as a context: it leaves no process behind.

    Args:
        server: forks the ranks; None: they are processes of their own, under torchrun where there are several.
    """

    def __init__(self, folder: Path, experiment: Experiment, processes: int, server: ForkServer | None = None) -> None:
        files = write_files(folder, experiment)
        launch = plan_ranks(files, processes=processes, cpus=1, parent_pid=os.getpid())
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(files.channel))
        self._listener.listen()
        self._listener.settimeout(0.25)
        log = folder / "ranks.log"
        start = functools.partial(start_process, launch, os.environ, log)
        self.process: Process = start() if server is None else server.start_ranks(launch, os.environ, log, start)
        self._parent = psutil.Process(self.process.pid if isinstance(self.process, subprocess.Popen) else server.pid)
        self._channel = files.channel
        self._connection = self._accept()
        self._connection.settimeout(120)
        self._lines = self._connection.makefile("rb")
        self.progress: list[Progress] = []
        ready = self.receive()
        assert isinstance(ready, Ready)
        self.ready = ready

    def _accept(self) -> socket.socket:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                return self._listener.accept()[0]
            assert self.process.poll() is None, "the ranks end before they are ready"
        raise TimeoutError("the ranks do not connect")

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self.ranks():
            process.kill()
        self.process.kill()
        self.process.wait()
        self._lines.close()
        self._connection.close()
        self._listener.close()
        self._channel.unlink()

    def send(self, job: ToRank) -> None:
        self._connection.sendall(msgspec.json.encode(job) + b"\n")

    def receive(self) -> FromRank | None:
        """The next message that is no progress; None at the end of the channel."""
        for line in self._lines:
            message: FromRank = msgspec.json.decode(line, type=FromRank)
            if not isinstance(message, Progress):
                return message
            self.progress.append(message)
        return None

    def do(self, job: ToRank) -> FromRank | FoldScored | None:
        """The answer; of a job of one fold its result, or what it failed of."""
        self.send(job)
        answer = self.receive()
        if not isinstance(answer, FoldsTrained):
            return answer
        (result,) = answer.results
        return result.failure if isinstance(result, FoldFailed) else result

    def stop(self) -> int:
        self.send(Stop())
        return self.process.wait(timeout=60)

    def ranks(self) -> list[psutil.Process]:
        """The living processes of the ranks."""
        try:
            return self._parent.children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def rank(self, number: int) -> psutil.Process:
        """The process of one rank."""
        # The kernel still shows the fork server's environment for a forked rank.
        return sorted(self.ranks(), key=lambda rank: rank.pid)[number]

    def wait_for_progress(self) -> Progress:
        """The next message, which is expected to be of a training under way."""
        message = msgspec.json.decode(next(self._lines), type=FromRank)
        assert isinstance(message, Progress), message
        return message

    def close_channel(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)


def wait_until_gone(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Those still alive when the time is up."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


KILL = signal.SIGKILL

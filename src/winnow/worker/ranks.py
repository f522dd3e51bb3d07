"""A group's ranks as their supervisor sees them: started, sent jobs, and judged when they end.

There is no extra thread: the supervisor waits in `receive`, which wakes for a message, for the end of the ranks, and
for a signal to the supervisor itself.
"""

from __future__ import annotations

import contextlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from winnow.config.inheritance import is_of_a_world
from winnow.training.launch import GroupFiles, Launch
from winnow.training.messages import EpochScored, Failed, FromRank, Progress, ToRank
from winnow.training.rank_errors import RankError, clear_errors, guilty_rank
from winnow.worker.nodes import Nodes

GRACE_S = 5.0
"""How long ranks may take to end before they are killed: all that they keep is saved at each fold's end."""
LEAVE_S = 3.0
"""How long idle ranks may take to end by themselves after their channel is closed."""
OUT_OF_MEMORY = "out of memory: the kernel killed a rank at the memory limit"
NODES_REPORT_WITHIN_S = 10.0


@dataclass(eq=False)
class RanksEndedError(Exception):
    """The ranks have ended without having been asked to.

    Attributes:
        failure: what the first rank to fail left behind; None if nothing shows that the job was at fault.
        fold: the trial and the fold that this rank was at, if it recorded them.
        is_asked: whether one of their machines was asked to stop: then this is no failure.
    """

    what: str
    log: Path
    failure: Failed | None = None
    fold: tuple[int, int] | None = None
    is_asked: bool = False

    def __str__(self) -> str:
        return self.what


class Process(Protocol):
    """The part of `subprocess.Popen` that ranks need; a fork server's ranks offer it, too."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


Planner = Callable[[GroupFiles], Launch]
"""`training.launch.plan_ranks` with everything but the files filled in."""
Starter = Callable[[Launch, Mapping[str, str], Path], Process]
"""Starts ranks in an environment; what they print before they have logs of their own is appended to the file."""


@dataclass(eq=False)
class Ranks:
    """The ranks of one group; several worlds of them may follow one another.

    Args:
        logs: folder for the ranks' logs; it exists.
        starter: starts the ranks; the default makes each a process of its own.
    """

    plan: Planner
    experiment: Path
    logs: Path
    environment: Mapping[str, str]
    nodes: Nodes = field(default_factory=lambda: Nodes(count=0))
    starter: Starter | None = None

    def __post_init__(self) -> None:
        self.started_log = self.logs / "ranks.log"
        """What the ranks' launcher prints: imports that fail, rendezvous."""
        self.first_log = self.logs / "rank-0.log"
        self._process: Process | None = None
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._folder: Path | None = None
        self._unread = b""
        self._decoder: msgspec.json.Decoder[FromRank] = msgspec.json.Decoder(FromRank)
        self._out_of_memory_before = 0
        self._is_busy = False
        self._sizes_before: dict[Path, int] = {}

    @property
    def are_running(self) -> bool:
        """Whether a world is up, or coming up."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start a world. Call it from the main thread: the ranks end with the thread that started them."""
        self.stop()
        clear_errors(self.logs)
        channel = self._make_folder() / "channel"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(channel))
        self._listener.listen(1)
        launch = self.plan(GroupFiles(channel=channel, experiment=self.experiment, logs=self.logs))
        self._out_of_memory_before = out_of_memory_kills()
        self._process = (self.starter or start_process)(launch, self.environment, self.started_log)
        self.nodes.start_world(self.experiment.read_text(encoding="utf-8"))

    def send(self, message: ToRank) -> None:
        """Give rank 0 a job. Raises RanksEndedError."""
        self._is_busy = True
        self._sizes_before = {log: log.stat().st_size for log in self.logs.glob("*.log")}
        self.answer(message)

    def answer(self, message: ToRank) -> None:
        """Answer rank 0's question in the middle of a job. Raises RanksEndedError."""
        assert self._connection is not None, "ranks ask after they were ready"
        try:
            self._connection.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            raise self.ended() from None

    def receive(self, timeout_s: float) -> FromRank | None:
        """The next message, or None after `timeout_s`. Raises RanksEndedError."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            waited_for = self._connection or self._listener
            assert waited_for is not None, "ranks are listened to after they were started"
            if select.select([waited_for], [], [], min(left, 0.25))[0]:
                self._read()
            elif not self.are_running:
                raise self.ended()
        line, _, self._unread = self._unread.partition(b"\n")
        message = self._decoder.decode(line)
        self._is_busy = isinstance(message, Progress | EpochScored)
        return message

    def written_in_job(self, log: Path) -> str:
        """What a log has gained since the last job was sent; logs span jobs and worlds."""
        if not log.is_file():
            return ""
        with log.open("rb") as lines:
            lines.seek(self._sizes_before.get(log, 0))
            return lines.read().decode(errors="replace")

    def end_in_vain(self) -> RanksEndedError:
        """End a world that cannot become whole, and say what happened to it."""
        assert self._process is not None, "a world ends after it was started"
        end_process(self._process)
        return self.ended()

    def stop(self) -> None:
        """End the world, by force if it does not end by itself; harmless if there is none."""
        if self._process is not None:
            if self._connection is not None:
                self._connection.close()  # Rank 0 ends at the end of its channel, and the others with it.
                if not self._is_busy:
                    _wait(self._process, LEAVE_S)
            self.nodes.stop_world()
            end_process(self._process)
        if self._listener is not None:
            self._listener.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            (self.logs / "socket").unlink(missing_ok=True)
        self._process = self._listener = self._connection = self._folder = None
        self._unread = b""

    def ended(self) -> RanksEndedError:
        """Wait for the rest of a world that lost a rank, and say what happened to it."""
        assert self._process is not None
        code = _wait(self._process, timeout_s=30.0)
        found = (guilty_rank(self.logs), self.nodes.guilty_rank(NODES_REPORT_WITHIN_S))
        error: RankError | None = min(filter(None, found), key=lambda error: error.at_ns, default=None)
        is_killed_for_memory = out_of_memory_kills() > self._out_of_memory_before
        self.stop()
        logs = sorted(self.logs.glob("rank-*.log"), key=lambda path: path.stat().st_mtime)
        oldest = logs[0] if logs else self.started_log
        if error is not None:
            log = oldest if error.rank is None else self.logs / f"rank-{error.rank}.log"
            reason = error.reason if error.rank is None else f"rank {error.rank}: {error.reason}"
            fold = None if error.trial is None or error.fold is None else (error.trial, error.fold)
            return RanksEndedError(reason, log, Failed(error.kind, reason, error.detail), fold)
        if is_killed_for_memory:
            # The kernel's kill looks like any other; only the counter of the group's memory limit tells.
            return RanksEndedError(OUT_OF_MEMORY, oldest, Failed("out_of_memory", OUT_OF_MEMORY, ""))
        if self.nodes.left:
            return RanksEndedError(f"node {self.nodes.left[0]} was asked to stop", oldest, is_asked=True)
        if code is None:
            what = "its ranks did not end within 30 s of losing one"
        elif code < 0:
            what = f"its ranks were ended by {signal.Signals(-code).name}"
        else:
            what = f"its ranks ended with exit code {code} and left no reason"
        return RanksEndedError(what, oldest)

    def _make_folder(self) -> Path:
        """A folder for the socket, whose path may have 107 bytes: a study's folder can be longer.

        The link in the group's logs leads to it, so that the next supervisor can remove what a killed one left.
        """
        link = self.logs / "socket"
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
            link.unlink()
        self._folder = Path(tempfile.mkdtemp(prefix="winnow-"))
        link.symlink_to(self._folder)
        return self._folder

    def _read(self) -> None:
        if self._connection is None:
            assert self._listener is not None
            self._connection, _ = self._listener.accept()
            return
        try:
            piece = self._connection.recv(1 << 16)
        except OSError:
            piece = b""
        if not piece:
            raise self.ended()
        self._unread += piece


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed at this control group's memory limit; 0 where it does not say."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return 0
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers == "":  # version 2
            root, name = Path("/sys/fs/cgroup"), "memory.events"
        elif "memory" in controllers.split(","):  # version 1
            root, name = Path("/sys/fs/cgroup/memory"), "memory.oom_control"
        else:
            continue
        for counters in (root / path.lstrip("/") / name, root / name):
            with contextlib.suppress(OSError, KeyError):
                return int(dict(line.split() for line in counters.read_text().splitlines())["oom_kill"])
    return 0


def _wait(process: Process, timeout_s: float) -> int | None:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def start_process(launch: Launch, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a launcher in this environment, less other worlds' variables; it appends what it prints to `log`."""
    inherited = {name: value for name, value in environment.items() if not is_of_a_world(name)}
    with log.open("ab") as output:
        return subprocess.Popen(
            launch.argv,
            env={**inherited, **launch.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def end_process(process: Process) -> None:
    """End ranks, by force if they do not end by themselves."""
    if process.poll() is None:
        process.terminate()
        if _wait(process, GRACE_S) is None:
            process.kill()
    process.wait()

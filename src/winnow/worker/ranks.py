"""A group's ranks, seen from their supervisor: started, spoken to, and told apart when they end.

No thread of its own: the supervisor waits in `receive`, which wakes for a message, for the end of the ranks, and for a
signal to the supervisor itself.
"""

from __future__ import annotations

import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from winnow.config.inheritance import is_of_a_world
from winnow.training.launch import GroupFiles, Launch
from winnow.training.messages import Failed, FromRank, Progress, ToRank
from winnow.training.rank_errors import RankError, clear_errors, guilty_rank
from winnow.worker.nodes import Nodes

GRACE_S = 5.0
"""How long ranks may take to end before they are killed: they keep nothing that a fold's end has not saved."""

LEAVE_S = 3.0
"""How long idle ranks may take to leave by themselves, once they are told that nothing comes any more."""

OUT_OF_MEMORY = "out of memory: the kernel killed a rank at the memory limit"
NODES_REPORT_WITHIN_S = 10.0

_PIECE = 1 << 16


@dataclass(frozen=True)
class Ended:
    """The ranks have ended without having been asked to.

    Attributes:
        failure: what the guilty rank left behind; None where nothing says that the job itself was at fault.
        fold: the trial and the fold that the guilty rank was at, where it says so.
        what: what happened, for people.
        log: the log that tells more.
        is_asked: whether one of their machines had been asked to stop, which is nobody's fault.
    """

    failure: Failed | None
    what: str
    log: Path
    is_asked: bool = False
    fold: tuple[int, int] | None = None


class RanksEndedError(Exception):
    """Raised where an answer was expected and the ranks have ended."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        super().__init__(ended.what)


class Planner(Protocol):
    """`training.launch.plan_ranks` for this group, waiting only for the files."""

    def __call__(self, files: GroupFiles) -> Launch: ...


class Process(Protocol):
    """What is asked of the ranks' process, or of a launcher that has several: a part of `subprocess.Popen`."""

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Starter(Protocol):
    """Starts ranks in an environment. What is printed before they have logs of their own is appended to `log`."""

    def __call__(self, launch: Launch, environment: Mapping[str, str], log: Path) -> Process: ...


class Ranks:
    """The ranks of one group; several worlds of them may follow one another.

    Args:
        plan: what to start.
        experiment: the experiment's JSON file.
        logs: folder for the ranks' logs.
        environment: the supervisor's own environment.
        nodes: the group's further nodes, where it has any.
        starter: starts them; by default as processes of their own.
    """

    def __init__(
        self,
        plan: Planner,
        experiment: Path,
        logs: Path,
        environment: Mapping[str, str],
        nodes: Nodes | None = None,
        starter: Starter | None = None,
    ) -> None:
        self._starter = start_process if starter is None else starter
        self._nodes = nodes
        self._plan = plan
        self._experiment = experiment
        self._logs = logs
        self._environment = environment
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

    @property
    def lack_nodes(self) -> bool:
        """Whether a machine that they are spread over is not there."""
        return self._nodes is not None and not self._nodes.are_complete

    @property
    def cannot_meet(self) -> bool:
        """Whether a world that is coming up waits in vain: another machine's part of it is gone."""
        return self.lack_nodes or (self._nodes is not None and not self._nodes.have_all_their_parts)

    @property
    def started_log(self) -> Path:
        """What the ranks' launcher prints: imports that fail, rendezvous."""
        return self._logs / "ranks.log"

    @property
    def first_log(self) -> Path:
        """What rank 0 prints."""
        return self._logs / "rank-0.log"

    def start(self) -> None:
        """Start a world. Call it from the main thread: the ranks end with the thread that started them."""
        self.stop()
        self._logs.mkdir(parents=True, exist_ok=True)
        clear_errors(self._logs)
        channel = self._make_folder() / "channel"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(channel))
        self._listener.listen(1)
        launch = self._plan(GroupFiles(channel=channel, experiment=self._experiment, logs=self._logs))
        self._out_of_memory_before = out_of_memory_kills()
        self._process = self._starter(launch, self._environment, self.started_log)
        if self._nodes is not None:
            self._nodes.start_world(self._experiment.read_text(encoding="utf-8"))

    def send(self, message: ToRank) -> None:
        """Give rank 0 a job. Raises RanksEndedError."""
        assert self._connection is not None, "ranks are spoken to after they were ready"
        self._is_busy = True
        self._sizes_before = {log: log.stat().st_size for log in self._logs.glob("*.log")}
        try:
            self._connection.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            raise RanksEndedError(self._end()) from None

    def receive(self, timeout_s: float) -> FromRank | None:
        """The next message, or None after `timeout_s`. Raises RanksEndedError."""
        deadline = time.monotonic() + timeout_s
        while (line := self._next_line()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            waited_for = self._connection or self._listener
            assert waited_for is not None, "ranks are listened to after they were started"
            readable, _, _ = select.select([waited_for], [], [], min(left, 0.25))
            if readable:
                self._read()
            elif not self.are_running:
                raise RanksEndedError(self._end())
        message = self._decoder.decode(line)
        self._is_busy = isinstance(message, Progress)
        return message

    def written_in_job(self, log: Path) -> str:
        """What a log has gained since the last job was sent: logs go on over jobs and worlds."""
        if not log.is_file():
            return ""
        with log.open("rb") as lines:
            lines.seek(self._sizes_before.get(log, 0))
            return lines.read().decode(errors="replace")

    def give_up(self) -> Ended:
        """End a world that waits in vain, and say what happened to it."""
        assert self._process is not None, "a world is given up after it was started"
        end_process(self._process)
        return self._end()

    def stop(self) -> None:
        """End the world, by force where it does not end by itself; harmless where there is none."""
        if self._process is not None:
            if self._connection is not None:
                self._connection.close()  # Rank 0 ends at the end of its channel, and the others with it.
                if not self._is_busy:
                    _wait(self._process, LEAVE_S)
            if self._nodes is not None:
                self._nodes.stop_world()
            end_process(self._process)
        if self._listener is not None:
            self._listener.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            (self._logs / "socket").unlink(missing_ok=True)
        self._process = self._listener = self._connection = self._folder = None
        self._unread = b""

    def dismiss(self) -> None:
        """Send the other nodes home: nothing comes any more."""
        if self._nodes is not None:
            self._nodes.dismiss()

    def _make_folder(self) -> Path:
        """A folder for the socket, whose path may have 107 bytes: a study's folder can be longer.

        What a supervisor that was killed has left of its own is removed: the group's logs tell where it is.
        """
        left = self._logs / "socket"
        if left.is_symlink():
            shutil.rmtree(left.readlink(), ignore_errors=True)
            left.unlink()
        self._folder = Path(tempfile.mkdtemp(prefix="winnow-"))
        left.symlink_to(self._folder)
        return self._folder

    def _next_line(self) -> bytes | None:
        line, separator, rest = self._unread.partition(b"\n")
        if not separator:
            return None
        self._unread = rest
        return line

    def _read(self) -> None:
        if self._connection is None:
            assert self._listener is not None
            self._connection, _ = self._listener.accept()
            return
        try:
            piece = self._connection.recv(_PIECE)
        except OSError:
            piece = b""
        if not piece:
            raise RanksEndedError(self._end())
        self._unread += piece

    def _end(self) -> Ended:
        """Wait for the rest of a world that lost a rank, and say what happened to it."""
        assert self._process is not None
        code = _wait(self._process, timeout_s=30.0)
        error = self._guilty_rank()
        killed_for_memory = out_of_memory_kills() > self._out_of_memory_before
        self.stop()
        if error is not None:
            log = self._guilty_log() if error.rank is None else self._logs / f"rank-{error.rank}.log"
            reason = error.reason if error.rank is None else f"rank {error.rank}: {error.reason}"
            fold = None if error.trial is None or error.fold is None else (error.trial, error.fold)
            return Ended(Failed(error.kind, reason, error.detail), reason, log, fold=fold)
        if killed_for_memory:
            # The kernel's kill looks like any other; only the counter of the group's memory limit tells.
            return Ended(Failed("out_of_memory", OUT_OF_MEMORY, ""), OUT_OF_MEMORY, self._guilty_log())
        if self._nodes is not None and self._nodes.left:
            what = f"node {self._nodes.left[0]} was asked to stop"
            return Ended(None, what, self._guilty_log(), is_asked=True)
        return Ended(None, _describe(code), self._guilty_log())

    def _guilty_rank(self) -> RankError | None:
        """What the first rank to fail has left, here or on another node."""
        found = [guilty_rank(self._logs)]
        if self._nodes is not None:
            found.append(self._nodes.guilty_rank(NODES_REPORT_WITHIN_S))
        return min((error for error in found if error is not None), key=lambda error: error.at_ns, default=None)

    def _guilty_log(self) -> Path:
        logs = sorted(self._logs.glob("rank-*.log"), key=lambda path: path.stat().st_mtime)
        return logs[0] if logs else self.started_log


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed at this control group's memory limit; 0 where it does not say.

    Version 2 counts in `memory.events`, version 1 in `memory.oom_control`.
    """
    own = Path("/proc/self/cgroup")
    if not own.is_file():
        return 0
    for line in own.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            places = [Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events", Path("/sys/fs/cgroup/memory.events")]
        elif "memory" in controllers.split(","):
            memory = Path("/sys/fs/cgroup/memory")
            places = [memory / path.lstrip("/") / "memory.oom_control", memory / "memory.oom_control"]
        else:
            continue
        for place in places:
            count = _counter(place)
            if count is not None:
                return count
    return 0


def _counter(place: Path) -> int | None:
    try:
        fields = dict(line.split() for line in place.read_text().splitlines())
    except OSError:
        return None
    return int(fields["oom_kill"]) if "oom_kill" in fields else None


def _describe(code: int | None) -> str:
    if code is None:
        return "its ranks did not end within 30 s of losing one"
    if code < 0:
        return f"its ranks were ended by {signal.Signals(-code).name}"
    return f"its ranks ended with exit code {code} and left no reason"


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
    """End ranks, by force where it does not end by itself."""
    if process.poll() is None:
        process.terminate()
        if _wait(process, GRACE_S) is None:
            process.kill()
    process.wait()

"""Processes that outlive whoever started them, known by pid and start time.

A pid alone is no name: the system gives it to somebody else one day. Together with the time at which the process
started it is one, across restarts of this program and of the machine.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

FIRST_PASSED_FD = 3
_OUT_OF_THE_WAY = 64


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process. `started` is the system's own mark of its start, comparable only with itself."""

    pid: int
    started: str


def spawn_detached(argv: Sequence[str], log: Path, fds: Sequence[int], env: Mapping[str, str]) -> ProcessIdentity:
    """Start a process in a session of its own, with its output appended to `log` and `fds` as 3, 4, ….

    No signal of this terminal reaches it, and it stays when this process ends.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # First far above the numbers they are to have, so that none is overwritten before it is copied.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for fd in fds]
    try:
        log_fd = os.open(log, flags | os.O_CLOEXEC, 0o644)
        moved.append(log_fd)
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log_fd, 1),
            (os.POSIX_SPAWN_DUP2, log_fd, 2),
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, FIRST_PASSED_FD + i) for i, fd in enumerate(moved[: len(fds)])]
        pid = os.posix_spawn(argv[0], list(argv), dict(env), file_actions=actions, setsid=True)
    finally:
        for fd in moved:
            os.close(fd)
    return ProcessIdentity(pid, _started(pid) or "")


def is_alive(process: ProcessIdentity) -> bool:
    """Whether that very process still runs; a dead child that nobody has waited for does not."""
    _reap(process.pid)
    started = _started(process.pid)
    return started is not None and started == process.started


def stop(
    processes: Sequence[ProcessIdentity],
    within_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask processes to end, and kill those that have not after `within_s`."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    deadline = clock() + within_s
    while any(is_alive(process) for process in processes) and clock() < deadline:
        sleep(0.02)
    for process in processes:
        _signal(process, signal.SIGKILL)


def _signal(process: ProcessIdentity, number: int) -> None:
    if is_alive(process):
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:  # it ended in between
            return


def _reap(pid: int) -> None:
    """Take note of a child's end, so that it does not stay as a zombie; other people's processes are left alone."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _started(pid: int) -> str | None:
    """The mark of a process's start, or None where it has ended."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _started_by_ps(pid)
    try:
        # The name in parentheses may hold spaces; the fields after it are state (3rd) … start time (22nd).
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _started_by_ps(pid: int) -> str | None:
    """The same where there is no /proc."""
    argv = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    state, _, started = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None

"""Start and stop processes that outlive the program that started them; see `config.process_identity`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from winnow.config.process_identity import ProcessIdentity, identity_of, is_running

FIRST_PASSED_FD = 3
_OUT_OF_THE_WAY = 64


def spawn_detached(argv: Sequence[str], log: Path, env: Mapping[str, str], fds: Sequence[int] = ()) -> ProcessIdentity:
    """Start a process in its own session, with its output appended to `log` and `fds` passed as 3, 4, ….

    Signals of this terminal do not reach it, and it outlives this process.

    Raises:
        OSError: it cannot be started, or the log cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Copy them to numbers far above 3 first, so that none is overwritten before it is duplicated.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for fd in fds]
    try:
        log_fd = os.open(log, flags | os.O_CLOEXEC, 0o600)
        moved.append(log_fd)
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log_fd, 1),
            (os.POSIX_SPAWN_DUP2, log_fd, 2),
        ]
        actions += [(os.POSIX_SPAWN_DUP2, fd, FIRST_PASSED_FD + i) for i, fd in enumerate(moved[: len(fds)])]
        pid = os.posix_spawnp(argv[0], list(argv), dict(env), file_actions=actions, setsid=True)
    finally:
        for fd in moved:
            os.close(fd)
    return identity_of(pid)


def is_alive(process: ProcessIdentity) -> bool:
    """Whether that same process is running. An ended child of this process is reaped."""
    _reap(process.pid)
    return is_running(process)


def stop(
    processes: Sequence[ProcessIdentity],
    within_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ask processes to end, and kill those that have not ended after `within_s`."""
    for process in processes:
        signal_process(process, signal.SIGTERM)
    wait_until(lambda: not any(is_alive(process) for process in processes), within_s, clock=clock, sleep=sleep)
    for process in processes:
        signal_process(process, signal.SIGKILL)


def wait_until(
    is_done: Callable[[], bool],
    within_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    deadline = clock() + within_s
    while not is_done() and clock() < deadline:
        sleep(0.02)


def signal_process(process: ProcessIdentity, number: int) -> None:
    """Send a signal to that same process, if it runs."""
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            os.kill(process.pid, number)


def _reap(pid: int) -> None:
    """Reap an ended child, which is a zombie until then. Do nothing for any other process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

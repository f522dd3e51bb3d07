"""Name a process for good by its pid and the system's mark of its start.

The system reuses pids. Linux marks a start in clock ticks since the machine's boot, and has an id for each boot; both
stay the same when the clock is set. Where there is no /proc, as on macOS, the mark is the time of the start that `ps`
prints, to the second.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

PROC = Path("/proc")


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process. `started` is the system's mark of its start, comparable only with itself.

    On Linux it reads `TICKS BOOT`. Records of earlier versions hold the ticks alone. An empty one is that of a process
    that had ended before its start was asked for.
    """

    pid: int
    started: str


def identity_of(pid: int, proc: Path = PROC) -> ProcessIdentity:
    """The process that has this pid now. Where none has, or it is a zombie, its identity is that of no process."""
    return ProcessIdentity(pid, _started(pid, proc) or "")


def is_running(process: ProcessIdentity, proc: Path = PROC) -> bool:
    """Whether that very process still runs. A zombie, whose parent has not yet waited for it, does not."""
    found = _started(process.pid, proc)
    ticks = found.partition(" ")[0] if found is not None and _is_linux(proc) else found
    return found is not None and process.started in (found, ticks)


def _is_linux(proc: Path) -> bool:
    return (proc / "self" / "stat").exists()


def _started(pid: int, proc: Path) -> str | None:
    """The mark of a process's start, or None where it has ended."""
    if not _is_linux(proc):
        return _started_by_ps(pid)
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces; the fields after it are state (3rd) … start time (22nd).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{fields[19]} {_boot_id(proc)}".rstrip()


def _boot_id(proc: Path) -> str:
    """The id that the kernel gives to each boot; empty where it gives none, as in some sandboxes."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started_by_ps(pid: int) -> str | None:
    argv = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    # The time is printed in this process's language and time zone, which differ between a terminal and cron.
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    printed = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False).stdout
    state, _, started = printed.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None

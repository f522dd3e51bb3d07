"""Identify a process by its pid and its start, because the system reuses pids.

Linux reports the start in clock ticks since the machine's boot, and an id of the boot; setting the clock changes
neither. Without /proc, as on macOS, the start is the time that `ps` prints, to the second.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import msgspec

PROC = Path("/proc")


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process. `started` is an opaque text for its start, empty for a process that had already ended.

    On Linux it is `TICKS BOOT`; records of earlier versions have only the ticks.
    """

    pid: int
    started: str


def identity_of(pid: int, proc: Path = PROC) -> ProcessIdentity:
    """The process that has this pid now. Without one, or for a zombie, the identity of no process."""
    return ProcessIdentity(pid, _started(pid, proc) or "")


def is_running(process: ProcessIdentity, proc: Path = PROC) -> bool:
    """Whether this process still runs. A zombie does not."""
    found = _started(process.pid, proc)
    ticks = found.partition(" ")[0] if found is not None and _is_linux(proc) else found
    return found is not None and process.started in (found, ticks)


def _is_linux(proc: Path) -> bool:
    return (proc / "self" / "stat").exists()


def _started(pid: int, proc: Path) -> str | None:
    """A process's start, or None if it has ended."""
    if not _is_linux(proc):
        return _started_by_ps(pid)
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may contain spaces; the fields after it are state (3rd) … start time (22nd).
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:  # some sandboxes lack it or forbid it
        boot = ""
    return f"{fields[19]} {boot}".rstrip()


def _started_by_ps(pid: int) -> str | None:
    argv = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    # ps prints the time in this process's language and time zone, which differ between a terminal and cron.
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    printed = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False).stdout
    state, _, started = printed.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None

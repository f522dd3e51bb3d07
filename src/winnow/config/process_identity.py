"""Processes that outlive the program that started them, known by pid and start.

The system gives a pid to another process one day. Together with the kernel's own mark of its start, in clock ticks
since the machine's boot, and the id of that boot, it names one process for good. A wall-clock time would not do: it
changes when the clock is set.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process. `started` is the system's mark of its start, comparable only with itself.

    It reads `TICKS BOOT`. Records of earlier versions hold the ticks alone.
    """

    pid: int
    started: str


def identity_of(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now; None where there is none, or where it is dead and waits for its parent."""
    started = _started(pid)
    return None if started is None else ProcessIdentity(pid, started)


def is_running(process: ProcessIdentity) -> bool:
    """Whether that very process still runs. A dead child that its parent has not waited for does not."""
    found = _started(process.pid)
    return found is not None and _is_same(process.started, found)


def _is_same(kept: str, found: str) -> bool:
    return kept in (found, found.partition(" ")[0])


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
    return None if fields[0] in "ZX" else f"{fields[19]} {_boot_id()}".rstrip()


def _boot_id() -> str:
    """The id that the kernel gives to each boot; empty where it gives none, as in some sandboxes."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started_by_ps(pid: int) -> str | None:
    """The same where there is no /proc: a time, which changes when the clock is set."""
    argv = ["ps", "-o", "state=,lstart=", "-p", str(pid)]
    state, _, started = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None

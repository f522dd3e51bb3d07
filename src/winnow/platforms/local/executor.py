"""Run worker groups as processes of this machine.

Each group has its own session, so that neither Ctrl-C nor a closed terminal reaches it, and its own folder:

    <home>/studies/<study>/groups/<name>/process.json    its process (`config.process_identity`)
                                         supervisor.log  output of its supervisor
                                         rank-N.log      output of its ranks
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from winnow.config.addresses import shown_value
from winnow.config.atomic_write import replace_text
from winnow.config.file_lock import locked
from winnow.config.inheritance import inherited
from winnow.config.process_identity import ProcessIdentity, identity_of, is_running
from winnow.platforms.executor import Executor, GroupSpec, GroupState, GroupStatus, UnknownGroupError
from winnow.platforms.process import spawn_detached, wait_until
from winnow.worker.standby import STANDBY, StandbyStart

SUPERVISOR = (sys.executable, "-P", "-m", "winnow.worker.group")
_REAPED_WITHIN_S = 10.0
_FOLLOW_S = 0.3


class _Process(NamedTuple):
    """A group's supervisor. `created_at` is in seconds since the epoch."""

    identity: ProcessIdentity
    created_at: float


class LocalExecutor(Executor):
    """`Executor` with local processes.

    Args:
        home: winnow's folder; nothing outside it is written.
        environment: the shell's environment. Groups inherit what `inheritance` allows.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._studies = home / "studies"
        self._environment = inherited(environment)
        self._exit_codes: dict[int, int | None] = {}
        self._standbys: list[tuple[ProcessIdentity, int]] = []

    @property
    def place(self) -> str:
        return "on this machine"

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """One line per group: its variables and its command."""
        return [
            " ".join(
                [
                    *(f"{key}={shlex.quote(shown_value(key, value))}" for key, value in sorted(group.env.items())),
                    *(f"{name}=***" for name in sorted(group.secrets)),
                    shlex.join(group.argv),
                ]
            )
            for group in groups
        ]

    def warm_up(self, groups: int) -> None:
        """Start supervisors that import what they need, then wait for a group or the end of this process."""
        for _ in range(groups):
            read, write = os.pipe()
            argv = (*SUPERVISOR, STANDBY)
            try:
                identity = spawn_detached(argv, Path(os.devnull), self._environment, (read,))
            finally:
                os.close(read)
            self._standbys.append((identity, write))

    def start(self, group: GroupSpec) -> None:
        folder = self._folder(group.study, group.name)
        with locked(folder / "start.lock"):
            known = _read_process(folder)
            if known is not None and is_running(known.identity):
                return
            environment = {**self._environment, **group.env, **group.secrets}
            log = folder / "supervisor.log"
            identity = self._given_to_standby(group, log, environment) or spawn_detached(group.argv, log, environment)
            record = {**msgspec.structs.asdict(identity), "created_at": time.time()}
            replace_text(folder / "process.json", json.dumps(record))
        self._exit_codes[identity.pid] = None

    def _given_to_standby(self, group: GroupSpec, log: Path, environment: Mapping[str, str]) -> ProcessIdentity | None:
        """Give the group to a waiting supervisor; None if there is none."""
        if group.argv[: len(SUPERVISOR)] != SUPERVISOR or not self._standbys:
            return None
        identity, pipe = self._standbys.pop()
        start = StandbyStart(group.argv[len(SUPERVISOR) :], dict(environment), str(log))
        try:
            with os.fdopen(pipe, "wb") as standby:
                standby.write(msgspec.json.encode(start))
        except BrokenPipeError:
            return None
        return identity

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        found = sorted(self._studies.glob(f"{study or '*'}/groups/*/process.json"))
        return tuple(self.status(path.parents[2].name, path.parent.name) for path in found)

    def status(self, study: str, name: str) -> GroupStatus:
        # The exit code is only known for groups that this executor started.
        process, created_at = self._process(study, name)
        started_at_ms = int(1000 * created_at)
        exit_code = self._reap(process.pid)
        # A child is over when it can be reaped. A killed one may look dead while its last threads are ending.
        if exit_code is None and (process.pid in self._exit_codes or is_running(process)):
            return GroupStatus(study, name, GroupState.RUNNING, started_at_ms=started_at_ms)
        if exit_code is None:
            return GroupStatus(study, name, GroupState.ENDED, started_at_ms=started_at_ms)
        state = GroupState.SUCCEEDED if exit_code == 0 else GroupState.FAILED
        return GroupStatus(study, name, state, exit_code, started_at_ms)

    def log(self, study: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """The supervisor's log, then the ranks' logs, then new lines of any."""
        folder = self._folder(study, name)
        read: dict[Path, int] = {}
        while True:
            is_last = not follow or self.status(study, name).state.is_over
            self._process(study, name)
            for path in [folder / "supervisor.log", folder / "ranks.log", *sorted(folder.glob("rank-*.log"))]:
                yield from _new_lines(path, read, is_last=is_last)
            if is_last:
                return
            time.sleep(_FOLLOW_S)

    def cancel(self, study: str, name: str, grace_s: float) -> None:
        """SIGTERM to the supervisor, then SIGKILL to its whole session."""
        process, _ = self._process(study, name)
        if is_running(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            wait_until(lambda: not is_running(process), grace_s)
            # Kill the rest of its session, whose id is its pid. macOS refuses that if only zombies are left.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        wait_until(lambda: self.status(study, name).state.is_over, _REAPED_WITHIN_S)

    def _reap(self, pid: int) -> int | None:
        """The exit code of an ended child of this process, which is a zombie until it is reaped."""
        if pid in self._exit_codes and self._exit_codes[pid] is None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            self._exit_codes[pid] = os.waitstatus_to_exitcode(status) if ended else None
        return self._exit_codes.get(pid)

    def _folder(self, study: str, name: str) -> Path:
        return self._studies / study / "groups" / name

    def _process(self, study: str, name: str) -> _Process:
        known = _read_process(self._folder(study, name))
        if known is None:
            raise UnknownGroupError(f"{study}/{name}")
        return known


def _new_lines(path: Path, read: dict[Path, int], *, is_last: bool) -> Iterator[str]:
    """Lines of a log from byte `read[path]` on, which is advanced. An unfinished line is only read if `is_last`."""
    if not path.is_file():
        return
    if path.stat().st_size < read.get(path, 0):
        # A restarted rank has truncated it.
        read[path] = 0
    with path.open("rb") as lines:
        lines.seek(read.get(path, 0))
        for line in lines:
            if not line.endswith(b"\n") and not is_last:
                return
            read[path] = read.get(path, 0) + len(line)
            yield f"{path.stem}: {line.decode(errors='replace').rstrip()}"


def _read_process(folder: Path) -> _Process | None:
    try:
        kept = json.loads((folder / "process.json").read_text())
    except FileNotFoundError:
        return None
    pid, created_at = int(kept["pid"]), float(kept["created_at"])
    identity = ProcessIdentity(pid, kept["started"]) if "started" in kept else _found_by_time(pid, created_at)
    return _Process(identity, created_at)


def _found_by_time(pid: int, created_at: float) -> ProcessIdentity:
    """The process in a record of an earlier version, which contains only the time of its start."""
    try:
        is_same = abs(psutil.Process(pid).create_time() - created_at) < 1.0
    except psutil.NoSuchProcess:
        is_same = False
    return identity_of(pid) if is_same else ProcessIdentity(pid, "")

"""Where worker groups run: the protocol of every platform's executor, and its types.

An executor starts, finds, reads and ends the groups of a study, and knows nothing of trials: the orchestrator decides
whether a dead group is started again. Groups are found by what the platform itself knows of them (a file, a label).
Implementations inherit the answers of most platforms, and pass `tests/contracts/test_executors.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from winnow.platforms.diagnosis import Diagnosis


class GroupState(enum.Enum):
    """What a group is doing."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ENDED = "ended"
    """It is over; how it ended is unknown."""

    @property
    def is_over(self) -> bool:
        """Whether it has stopped for good: it does not start again by itself."""
        return self is not GroupState.RUNNING


@dataclass(frozen=True)
class GroupResources:
    """What one node of a group may use. None: no limit.

    Attributes:
        cpus: CPUs; fractions are allowed.
        memory_bytes, shm_bytes: memory, and the part of it that processes may share (`/dev/shm`).
        gpus: the GPUs' indexes or ids, as CUDA_VISIBLE_DEVICES names them.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A folder of the host, or a named volume, that containers see at `target`."""

    source: str
    target: str
    is_read_only: bool = True


@dataclass(frozen=True)
class GroupSpec:
    """One worker group to start.

    Attributes:
        study, name: together they name the group.
        argv: the command of its supervisor, and of every further node with the node's index in `WINNOW_NODE`.
        env: variables set for it, beside those that the platform itself needs; addresses in them may hold passwords.
        secrets: further variables, whose values no plan, log or error shows.
        nodes: machines (containers, pods) of the group; the supervisor is on the first.
        volumes: what is mounted where the group does not share this machine's files.
        options: the platform's own section of the experiment; read by that platform alone.
        start_timeout_s: how long no group of the study may start before the sweep fails.
    """

    study: str
    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    nodes: int = 1
    resources: GroupResources = GroupResources()
    volumes: tuple[Volume, ...] = ()
    options: object = None
    start_timeout_s: float = 300.0


@dataclass(frozen=True)
class GroupStatus:
    """A worker group as its platform reports it.

    Attributes:
        study, name: together they name the group.
        state: what it is doing.
        exit_code: negative for a signal; None while it runs or where it is not known.
        started_at_ms: since the epoch; None where it is not known.
        lacks_nodes: it runs, but one of its further nodes is lost; `start` brings that node back.
        diagnosis: what keeps one of its nodes from starting; None where nothing does, or nothing is known yet.
        has_remains: it is over, and its containers or pods still hold its log; `Executor.clear` brings that here.
    """

    study: str
    name: str
    state: GroupState
    exit_code: int | None = None
    started_at_ms: int | None = None
    lacks_nodes: bool = False
    diagnosis: Diagnosis | None = None
    has_remains: bool = False


class UnknownGroupError(LookupError):
    """There is no group of this name, running or over."""


class Executor(Protocol):
    """Starts and ends the worker groups of studies; safe to use from several threads.

    Every method raises UnreachableError where the platform does not answer; a later call may succeed. Methods that
    name a group raise UnknownGroupError where there is none.
    """

    @property
    def place(self) -> str:
        """Where its groups run, to end a sentence with: `on this machine`."""

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """What `start` would do, as lines for people; starts nothing."""

    def start(self, group: GroupSpec) -> None:
        """Start a group, or the nodes that it has lost; do nothing where it runs, whichever process started it.

        A group of several nodes is started as a whole or not at all. Raises InputError.
        """

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        """The groups of a study (or of all), running or over, by study and name."""

    def status(self, study: str, name: str) -> GroupStatus:
        """One group."""

    def watch(self, study: str) -> AbstractContextManager[Callable[[], tuple[GroupStatus, ...]]]:
        """A function that gives a study's groups and is cheap to call often, until the context ends.

        Its answer may be a moment old. `status` gives what may be acted on.
        """
        return nullcontext(lambda: self.groups(study))

    def log(self, study: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """Lines of a group's logs so far, also after its end; with `follow`, until the group is over."""

    def check_may_end(self) -> None:
        """Raise InputError where ending groups is not permitted; changes nothing."""
        return None

    def cancel(self, study: str, name: str, grace_s: float) -> None:
        """Ask a group to stop, and end it by force after `grace_s`; harmless where it is over.

        When this returns the group is over, with all its processes.
        """

    def cancel_all(self, study: str, grace_s: float) -> None:
        """Cancel all groups of a study at the same time; harmless where there is none."""
        names = [group.name for group in self.groups(study) if not group.state.is_over]
        # Each call mostly waits, and the last group is to be asked as early as the first.
        with ThreadPoolExecutor(max(1, len(names)), thread_name_prefix="winnow-cancel") as pool:
            list(pool.map(lambda name: self.cancel(study, name, grace_s), names))

    def clear(self, study: str) -> None:
        """Remove what groups that are over have left on the platform; their logs stay readable here.

        Running groups keep all that they need.
        """
        return None

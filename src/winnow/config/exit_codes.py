"""How processes of winnow end: every exit code that one process returns and another reads."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from enum import IntEnum
from typing import NoReturn


class CommandExit(IntEnum):
    """Exit codes of the command `winnow`. (`winnow diff --exit-code` has those of diff(1).)"""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    """Something that a person wrote, named or set is wrong. click ends with it too."""
    NO_RUN_PASSES = 3
    INTERRUPTED = 130
    """Ctrl-C, as shells number it: 128 + SIGINT."""


class GroupExit(IntEnum):
    """Exit codes of a worker group's supervisor."""

    DONE = 0
    """The study is done."""
    STUDY_AWAY = 1
    """The study did not answer for too long."""
    REFUSED = 2
    """Something that it was given is wrong, or its data is not the study's; the study says which."""
    CANNOT_START = 3
    """Its ranks do not come up, or its other nodes repeatedly do not; the log says why."""
    ALREADY_RUNNING = 4
    """Another process is this group already."""
    LOST_NODES = 77
    """It has lost the group's other nodes: its platform may start it again."""
    STOPPED = 143
    """It was asked to stop, and has handed back what it held. Any other 128 + N is a signal's."""


NEVER_RETRIED = (GroupExit.REFUSED, GroupExit.CANNOT_START)
"""Exit codes after which another try would end the same way, on whichever node."""
NOT_A_FAILURE = (GroupExit.LOST_NODES, GroupExit.STOPPED)
"""Exit codes other than 0 that do not count as failed tries of a group."""


class RankExit(IntEnum):
    """Exit codes of one rank; torchrun ends the other ranks after either."""

    LOST_PEER = 1
    """Its supervisor or another rank is gone. The job may be tried again."""
    RECORDED = 13
    """It has left a record of its own fault (`training.rank_errors`). The job is not tried again."""


def group_exit_of_container(code: int | None) -> int | None:
    """A container's exit code as `GroupStatus` has it: −N for a signal, where a container runtime says 128 + N."""
    if code is None or code == GroupExit.STOPPED or not 128 < code < 128 + 65:
        return code
    return 128 - code


def leave(code: int) -> NoReturn:
    """End this process after its exit functions, without tearing down what it has imported.

    That would take a quarter of a second with Optuna and half a second with MLflow.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)

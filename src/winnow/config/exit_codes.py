"""Every exit code that one process of winnow returns and another reads."""

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
    """Bad input. click exits with it too."""
    NO_RUN_PASSES = 3
    REJECTED = 3
    """The same for a version: what was asked for was judged, and did not pass."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as in shells."""


class GroupExit(IntEnum):
    """Exit codes of a worker group's supervisor."""

    DONE = 0
    """The study is done."""
    STUDY_AWAY = 1
    """The study database did not answer for too long."""
    REFUSED = 2
    """Bad input, or data that differs from the study's. The study records which."""
    CANNOT_START = 3
    """Its ranks do not start, or its other nodes repeatedly do not. The log has the reason."""
    ALREADY_RUNNING = 4
    """Another process already runs this group."""
    LOST_NODES = 77
    """The group's other nodes are gone. Its platform may restart it."""
    STOPPED = 143
    """It stopped on request and returned its trials. Any other 128 + N means signal N."""


NEVER_RETRIED = (GroupExit.REFUSED, GroupExit.CANNOT_START)
"""Exit codes after which a retry would end the same way on every node."""
NOT_A_FAILURE = (GroupExit.LOST_NODES, GroupExit.STOPPED)
"""Exit codes other than 0 that do not count as failures of a group."""


class RankExit(IntEnum):
    """Exit codes of a rank. torchrun stops the other ranks after either of them."""

    LOST_PEER = 1
    """Its supervisor or another rank is gone. The job may be retried."""
    RECORDED = 13
    """It recorded its own error (`training.rank_errors`). The job is not retried."""


def group_exit_of_container(code: int | None) -> int | None:
    """A container's exit code as in `GroupStatus`: −N for a signal, where container runtimes return 128 + N."""
    if code is None or code == GroupExit.STOPPED or not 128 < code < 128 + 65:
        return code
    return 128 - code


def leave(code: int) -> NoReturn:
    """Exit after the exit functions, without tearing down imported modules.

    That would take 0.25 s with Optuna and 0.5 s with MLflow.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)

"""Starts the ranks of a worker group on this machine, forked from a fork server wherever that works."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Mapping
from pathlib import Path

from winnow.training.fork_client import ForkServer
from winnow.training.launch import Launch
from winnow.worker.ranks import Process, start_process


class RankStarter:
    """Uses the fork server that this machine's groups share, and one of its own once that is gone.

    Args:
        address: of the shared fork server of this study; None where there is none.
        system: `sys.platform`; only Linux' libraries survive a fork.
    """

    def __init__(self, address: str | None, system: str = sys.platform) -> None:
        self._can_fork = system.startswith("linux")
        self._server: ForkServer | None = None
        if self._can_fork and address:
            with contextlib.suppress(OSError):
                self._server = ForkServer(address)

    def __call__(self, launch: Launch, environment: Mapping[str, str], log: Path) -> Process:
        """Start the ranks; see `ranks.Starter`. The calling thread must live as long as they do."""
        start_fresh = functools.partial(start_process, launch, environment, log)
        if not self._can_fork or launch.forked_ranks == 0:
            return start_fresh()
        if self._server is not None:
            with contextlib.suppress(OSError):
                return self._server.start_ranks(launch, environment, log, start_fresh)
        self.close()
        with log.open("ab") as output:
            self._server = ForkServer.start(environment, output, ends_with_parent=True)
        return self._server.start_ranks(launch, environment, log, start_fresh)

    def close(self) -> None:
        """Leave the fork server."""
        if self._server is not None:
            self._server.close()
            self._server = None

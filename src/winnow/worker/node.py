"""A further node of a worker group: starts and ends its part of the world as the supervisor on the first node commands.

It knows neither the study nor the tracking store. `nodes` defines the messages.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from winnow.config.errors import WinnowError
from winnow.training.launch import GroupFiles
from winnow.training.rank_errors import RankError, clear_errors, guilty_rank
from winnow.worker.nodes import Dismiss, FromNode, Hello, Leaving, StartWorld, ToNode, WorldEnded, keep_alive
from winnow.worker.ranks import OUT_OF_MEMORY, Planner, end_process, out_of_memory_kills, start_process
from winnow.worker.stop import StopRequestedError

RETRY_S = 0.5

_log = logging.getLogger(__name__)


class SupervisorGoneError(WinnowError):
    """The first node did not answer for too long."""


@dataclass(eq=False)
class RemoteNode:
    """One further node.

    Args:
        index: its number; the first node is 0.
        supervisor: address and port on which the first node listens for the others.
        patience_s: how long the supervisor may be away.
        check_stop: raises StopRequestedError once this process was asked to end.
    """

    index: int
    supervisor: tuple[str, int]
    plan: Planner
    folder: Path
    environment: Mapping[str, str]
    patience_s: float
    check_stop: Callable[[], None]
    _process: subprocess.Popen[bytes] | None = None
    _world: int = 0
    _out_of_memory_before: int = 0

    def run(self) -> None:
        """Work until the supervisor dismisses this node.

        Raises:
            SupervisorGoneError: it has not answered for too long.
            StopRequestedError: this node was asked to end; the supervisor has been told.
        """
        try:
            while True:
                with self._connect() as supervisor:
                    try:
                        if self._obey(supervisor):
                            return
                    except StopRequestedError:
                        # Sent before the ranks end, so that the supervisor does not count their end as a loss.
                        with contextlib.suppress(OSError):
                            _send(supervisor, Leaving(self.index))
                        raise
                _log.warning("lost the connection to the supervisor; connecting again")
                self._stop_world()
        finally:
            self._stop_world()

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + self.patience_s
        while True:
            self.check_stop()
            try:
                supervisor = socket.create_connection(self.supervisor, timeout=5.0)
            except OSError as error:
                if time.monotonic() > deadline:
                    host, port = self.supervisor
                    raise SupervisorGoneError(
                        f"node {self.index}: expected the group's first node at {host}:{port}, found {error} for "
                        f"{self.patience_s:g} s. Start the group again."
                    ) from error
                time.sleep(RETRY_S)
            else:
                keep_alive(supervisor)
                _send(supervisor, Hello(self.index))
                return supervisor

    def _obey(self, supervisor: socket.socket) -> bool:
        """Do what the supervisor commands. True: this node is dismissed; False: the connection is lost."""
        decoder: msgspec.json.Decoder[ToNode] = msgspec.json.Decoder(ToNode)
        unread = b""
        while True:
            self.check_stop()
            try:
                self._report_end(supervisor)
                if not select.select([supervisor], [], [], 0.25)[0]:
                    continue
                piece = supervisor.recv(1 << 16)
            except OSError:
                return False
            if not piece:
                return False
            *lines, unread = (unread + piece).split(b"\n")
            for message in map(decoder.decode, lines):
                if isinstance(message, Dismiss):
                    return True
                self._stop_world()
                if isinstance(message, StartWorld):
                    self._start_world(message)

    def _start_world(self, start: StartWorld) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_errors(self.folder)
        experiment = self.folder / "experiment.json"
        experiment.write_text(start.experiment, encoding="utf-8")
        launch = self.plan(GroupFiles(channel=self.folder / "no-channel", experiment=experiment, logs=self.folder))
        self._world = start.world
        self._out_of_memory_before = out_of_memory_kills()
        self._process = start_process(launch, self.environment, self.folder / "ranks.log")

    def _report_end(self, supervisor: socket.socket) -> None:
        """Report once that this node's ranks have ended, and why."""
        if self._process is None or self._process.poll() is None:
            return
        self._process = None
        error = guilty_rank(self.folder)
        if out_of_memory_kills() > self._out_of_memory_before:
            reason = f"{OUT_OF_MEMORY} of node {self.index}"
            error = RankError(kind="out_of_memory", reason=reason, detail="", rank=None, trial=None, fold=None)
        _send(supervisor, WorldEnded(self.index, self._world, error))

    def _stop_world(self) -> None:
        if self._process is not None:
            end_process(self._process)
            self._process = None


def _send(supervisor: socket.socket, message: FromNode) -> None:
    supervisor.sendall(msgspec.json.encode(message) + b"\n")

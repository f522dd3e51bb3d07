"""A further node of a worker group: starts and ends its part of the world as the supervisor on the first node says.

It knows neither the study nor the tracking store. See `nodes` for what is said.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
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


class RemoteNode:
    """One further node.

    Args:
        index: which one it is.
        supervisor: address and port on which the first node listens for the others.
        plan: how to start this node's ranks.
        folder: for the experiment and the ranks' logs.
        environment: what ranks inherit.
        patience_s: how long the supervisor may be away.
        check_stop: raises StopRequestedError where this process was asked to end.
    """

    def __init__(
        self,
        index: int,
        supervisor: tuple[str, int],
        plan: Planner,
        folder: Path,
        environment: Mapping[str, str],
        patience_s: float,
        check_stop: Callable[[], None],
    ) -> None:
        self._index = index
        self._supervisor = supervisor
        self._plan = plan
        self._folder = folder
        self._environment = environment
        self._patience_s = patience_s
        self._check_stop = check_stop
        self._process: subprocess.Popen[bytes] | None = None
        self._world = 0
        self._out_of_memory_before = 0

    def run(self) -> None:
        """Work until the supervisor says that there is nothing left to do.

        Raises:
            SupervisorGoneError: it has not answered for too long.
            StopRequestedError: this node was asked to end; the supervisor knows.
        """
        try:
            while True:
                with self._call() as supervisor:
                    if self._serve(supervisor):
                        return
                _log.warning("the supervisor is gone; calling it again")
                self._stop_world()
        finally:
            self._stop_world()

    def _call(self) -> socket.socket:
        deadline = time.monotonic() + self._patience_s
        while True:
            self._check_stop()
            try:
                supervisor = socket.create_connection(self._supervisor, timeout=5.0)
            except OSError as error:
                if time.monotonic() > deadline:
                    host, port = self._supervisor
                    raise SupervisorGoneError(
                        f"node {self._index}: expected the group's first node at {host}:{port}, found {error} for "
                        f"{self._patience_s:g} s. Start the group again."
                    ) from error
                time.sleep(RETRY_S)
            else:
                keep_alive(supervisor)
                _send(supervisor, Hello(self._index))
                return supervisor

    def _serve(self, supervisor: socket.socket) -> bool:
        """Do what the supervisor says; True where it says that all is done, False where it is gone."""
        try:
            return self._obey(supervisor)
        except StopRequestedError:
            # Before the ranks are ended: what breaks by that is then known to be no failure.
            with contextlib.suppress(OSError):
                _send(supervisor, Leaving(self._index))
            raise

    def _obey(self, supervisor: socket.socket) -> bool:
        decoder: msgspec.json.Decoder[ToNode] = msgspec.json.Decoder(ToNode)
        unread = b""
        while True:
            self._check_stop()
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
            for line in lines:
                message = decoder.decode(line)
                if isinstance(message, Dismiss):
                    return True
                self._stop_world()
                if isinstance(message, StartWorld):
                    self._start_world(message)

    def _start_world(self, start: StartWorld) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        clear_errors(self._folder)
        experiment = self._folder / "experiment.json"
        experiment.write_text(start.experiment, encoding="utf-8")
        launch = self._plan(GroupFiles(channel=self._folder / "no-channel", experiment=experiment, logs=self._folder))
        self._world = start.world
        self._out_of_memory_before = out_of_memory_kills()
        self._process = start_process(launch, self._environment, self._folder / "ranks.log")

    def _report_end(self, supervisor: socket.socket) -> None:
        """Say that this node's ranks have ended, once."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
            _send(supervisor, WorldEnded(self._index, self._world, self._error()))

    def _error(self) -> RankError | None:
        if out_of_memory_kills() > self._out_of_memory_before:
            return RankError(
                kind="out_of_memory",
                reason=f"{OUT_OF_MEMORY} of node {self._index}",
                detail="",
                rank=None,
                trial=None,
                fold=None,
            )
        return guilty_rank(self._folder)

    def _stop_world(self) -> None:
        if self._process is not None:
            end_process(self._process)
            self._process = None


def _send(supervisor: socket.socket, message: FromNode) -> None:
    supervisor.sendall(msgspec.json.encode(message) + b"\n")

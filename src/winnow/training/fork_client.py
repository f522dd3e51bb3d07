"""A fork server as its clients see it: found or started, asked for a check, asked for ranks.

Nothing here imports torch. See `fork_server` for what runs where.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Self

import msgspec

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.inheritance import is_of_a_world
from winnow.training.fork_messages import (
    CannotFork,
    Check,
    Checked,
    Checking,
    Crashed,
    FromServer,
    Refused,
    SignalWorld,
    StartWorld,
    ToServer,
    WorldEnded,
)
from winnow.training.launch import PYTHON, THREAD_POOLS, Launch, rank_environments
from winnow.training.pdeathsig import PARENT

FORK_SERVER = "WINNOW_FORK_SERVER"
"""Set for the groups of this machine: the socket of the fork server that has checked their experiment."""


class CheckCrashedError(Exception):
    """The check of an experiment ended without a verdict: a fault of winnow, or its process was killed."""


class ForkServer:
    """A connection that keeps a fork server alive."""

    def __init__(self, address: str, process: subprocess.Popen[bytes] | None = None) -> None:
        """Connect to the socket at `address`, on which `process` listens if it was started here.

        Raises:
            OSError: no server is there.
        """
        self._address = address
        self._process = process
        self._has_other_clients = process is None
        self._connection = _connected(address)

    @classmethod
    def start(cls, environment: Mapping[str, str], output: IO[bytes] | None = None, *, ends_with_parent: bool) -> Self:
        """Start a server and connect to it; it answers once it has imported torch.

        Args:
            environment: the server's own, which user code reads while it is imported.
            output: where it prints until it starts ranks; None: where this process does.
            ends_with_parent: it ends with the thread that calls this, whatever other clients it has.
        """
        inherited = {name: value for name, value in environment.items() if not is_of_a_world(name) and name != PARENT}
        own = {
            **dict.fromkeys(THREAD_POOLS, "1"),
            # Counting GPUs must not initialize CUDA, which does not survive a fork.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            **({PARENT: str(os.getpid())} if ends_with_parent else {}),
        }
        # A socket's path may have 107 bytes, and a study's folder can be longer.
        address = str(Path(tempfile.mkdtemp(prefix="winnow-")) / "fork-server")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            process = subprocess.Popen(
                (*PYTHON, "-u", "-m", "winnow.training.fork_server"),
                env={**inherited, **own},
                stdin=listener.fileno(),
                stdout=output,
                stderr=output,
                # Neither Ctrl-C nor a closed terminal reaches it: its clients decide when it ends.
                start_new_session=True,
            )
        return cls(address, process)

    def check(
        self,
        experiment: Experiment,
        *,
        has_gpu: bool | None = None,
        show: Callable[[str], None] = lambda _what: None,
    ) -> Checked:
        """Have an experiment prepared, and refused where it cannot be trained.

        Args:
            has_gpu: whether ranks will have one where they run; None: they run on this machine.
            show: gets the name of each part before it is checked.

        Raises:
            InputError: the first thing that has to change. The KeyError that caused it, if one did, is its cause.
            CheckCrashedError: there is no verdict.
        """
        _send(self._connection, Check(msgspec.Raw(experiment.model_dump_json(by_alias=True).encode()), has_gpu))
        try:
            return self._verdict(show)
        except BaseException:
            # It may be running user code.
            self.close()
            raise

    def _verdict(self, show: Callable[[str], None]) -> Checked:
        with self._connection.makefile("rb") as lines:
            for line in lines:
                match msgspec.json.decode(line, type=FromServer):
                    case Checking(what):
                        show(what)
                    case Checked() as checked:
                        return checked
                    case Refused(place, expected, found, remedy, missing_key):
                        error = InputError(place, expected=expected, found=found, remedy=remedy)
                        raise error from (None if missing_key is None else KeyError(missing_key))
                    case Crashed(detail):
                        raise CheckCrashedError(f"the check of the experiment failed:\n{detail}")
                    case CannotFork() | WorldEnded():
                        pass
        code = None if self._process is None else self._process.wait()
        raise CheckCrashedError(f"the process that checks the experiment ended with exit code {code}")

    @property
    def pid(self) -> int | None:
        """Its process id, where it was started here."""
        return None if self._process is None else self._process.pid

    def share(self) -> str:
        """The address for other clients, with the last of which the server ends; see `FORK_SERVER`."""
        self._has_other_clients = True
        return self._address

    def start_ranks(
        self,
        launch: Launch,
        environment: Mapping[str, str],
        log: Path,
        start_fresh: Callable[[], subprocess.Popen[bytes]],
    ) -> ForkedRanks:
        """Ask for ranks; see `ForkedRanks`. Raises OSError where the server is gone."""
        return ForkedRanks(_connected(self._address), launch, environment, log, start_fresh)

    def close(self) -> None:
        """Leave. A server without other clients ends at once, whatever it does."""
        self._connection.close()
        if self._process is None:
            return
        if self._has_other_clients:
            # It ends with the last of them; until then a thread waits for its exit code.
            threading.Thread(target=self._process.wait, name="fork-server", daemon=True).start()
            return
        self._process.kill()
        self._process.wait()
        shutil.rmtree(Path(self._address).parent, ignore_errors=True)


class ForkedRanks:
    """The ranks that a fork server has started for a group, with what `subprocess.Popen` offers for a process.

    Where it cannot fork, they are started as processes of their own.
    """

    def __init__(
        self,
        connection: socket.socket,
        launch: Launch,
        environment: Mapping[str, str],
        log: Path,
        start_fresh: Callable[[], subprocess.Popen[bytes]],
    ) -> None:
        self._start_fresh = start_fresh
        self._fresh: subprocess.Popen[bytes] | None = None
        self._code: int | None = None
        self._unread = b""
        self._connection = connection
        environments = rank_environments(launch, environment, _free_port())
        _send(self._connection, StartWorld(environments, str(log)))

    def poll(self) -> int | None:
        """The exit code of the first rank to fail, else 0; −N: a signal; None while ranks run."""
        self._read(timeout_s=0.0)
        return self._fresh.poll() if self._fresh is not None else self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all have ended. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._fresh is None and self._code is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("the ranks", timeout or 0.0)
            self._read(left)
        if self._fresh is not None:
            return self._fresh.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        assert self._code is not None
        return self._code

    def terminate(self) -> None:
        """Send them SIGTERM."""
        if self._fresh is not None:
            self._fresh.terminate()
        elif self._code is None:
            _send(self._connection, SignalWorld(signal.SIGTERM))

    def kill(self) -> None:
        """Kill them. A server that is still loading data does so before they do anything."""
        if self._fresh is not None:
            self._fresh.kill()
        elif self._code is None:
            self._end(-signal.SIGKILL)

    def _read(self, timeout_s: float | None) -> None:
        if self._fresh is not None or self._code is not None:
            return
        if not select.select([self._connection], [], [], timeout_s)[0]:
            return
        try:
            piece = self._connection.recv(1 << 16)
        except OSError:
            piece = b""
        if not piece:
            # The kernel kills the ranks of a server that is gone.
            self._end(-signal.SIGKILL)
            return
        *lines, self._unread = (self._unread + piece).split(b"\n")
        for line in lines:
            match msgspec.json.decode(line, type=FromServer):
                case WorldEnded(code):
                    self._end(code)
                case CannotFork():
                    self._connection.close()
                    self._fresh = self._start_fresh()
                case _:
                    pass

    def _end(self, code: int) -> None:
        self._code = code
        self._connection.close()


def _connected(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _send(connection: socket.socket, message: ToServer) -> None:
    # A server that is gone is noticed where its answer is read.
    try:
        connection.sendall(msgspec.json.encode(message) + b"\n")
    except OSError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

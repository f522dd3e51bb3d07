"""The fork server: one process that imports torch and loads the data once, and then forks ranks on request.

    python -m winnow.training.fork_server     its standard input is the socket that clients connect to

Clients are an orchestrator, which has an experiment checked, and the supervisors of worker groups, each of which has
one world of ranks at a time (`fork_messages`, `fork_client`). The server holds no lease and knows neither Optuna nor
MLflow. It ends with its last client, and its ranks end with it or with the client that asked for them.

A fork copies one thread of a process. The server therefore stays at a single thread: torch computes on one here, and a
rank chooses its own number after the fork, which OpenMP survives as long as no wider region ran before. Where
user code has started threads, or CUDA was initialized, the client is told to start fresh processes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import msgspec

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
from winnow.training.pdeathsig import PARENT, die_with_parent

LEAVE_S = 5.0
"""How long ranks may take to end once another of their world has failed, before they are killed."""

Fork = Callable[[dict[str, str]], NoReturn]
"""Becomes a rank, in a forked child with this environment."""


@dataclass(eq=False)
class _World:
    """The ranks of a client: those that run, and how the first one to fail has ended."""

    ranks: set[int]
    code: int = 0
    kill_at: float | None = None

    def signal(self, number: int) -> None:
        for pid in self.ranks:
            # None of them was reaped, so that no id can be another process's.
            os.kill(pid, number)


@dataclass(eq=False)
class _Client:
    connection: socket.socket
    unread: bytes = b""
    world: _World | None = None
    is_gone: bool = False

    def send(self, message: FromServer) -> None:
        # A client that is gone is noticed where it is read from.
        with contextlib.suppress(OSError):
            self.connection.sendall(msgspec.json.encode(message) + b"\n")


@dataclass
class ForkServer:
    """Serves its clients until the last one is gone.

    Args:
        prepare: readies what the ranks of an environment have in common.
    """

    listener: socket.socket
    check: Callable[[Check, Callable[[str], None]], Checked | Refused | Crashed]
    prepare: Callable[[dict[str, str]], None]
    cannot_fork: Callable[[], str | None]
    be_rank: Fork
    _clients: list[_Client] = field(default_factory=list)

    def serve(self) -> None:
        """Serve until the last client has gone, then kill what is left of its ranks."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.listener, selectors.EVENT_READ)
        self._wakes_on_ended_children()
        had_clients = False
        while not had_clients or self._clients:
            for key, _ in self._selector.select(self._timeout_s()):
                if key.fileobj is self.listener:
                    self._accept()
                    had_clients = True
                elif isinstance(key.data, _Client):
                    self._read(key.data)
                else:
                    os.read(self._woken, 4096)
            self._reap()

    def _wakes_on_ended_children(self) -> None:
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def _timeout_s(self) -> float | None:
        times = [client.world.kill_at for client in self._clients if client.world is not None]
        due = [at for at in times if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        client = _Client(connection)
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client: _Client) -> None:
        try:
            piece = client.connection.recv(1 << 16)
        except OSError:
            piece = b""
        if not piece:
            self._leave(client)
            return
        *lines, client.unread = (client.unread + piece).split(b"\n")
        for line in lines:
            message = msgspec.json.decode(line, type=ToServer)
            match message:
                case Check():
                    client.send(self.check(message, lambda what: client.send(Checking(what))))
                case StartWorld():
                    self._start(client, message)
                case SignalWorld(number):
                    if client.world is not None:
                        client.world.signal(number)

    def _leave(self, client: _Client) -> None:
        """Kill the ranks of a client that is gone; it is forgotten once they are reaped."""
        self._selector.unregister(client.connection)
        client.connection.close()
        client.is_gone = True
        if client.world is not None:
            client.world.signal(signal.SIGKILL)

    def _start(self, client: _Client, start: StartWorld) -> None:
        _print_into(Path(start.log))
        self.prepare(start.ranks[0])
        why = self.cannot_fork()
        if why is not None:
            print(f"ranks are started as processes of their own: {why}", flush=True)
            client.send(CannotFork(why))
            return
        # Objects that exist now are left where the ranks share them: a collection would write to each.
        gc.collect()
        gc.freeze()
        client.world = _World({self._fork(environment) for environment in start.ranks})

    def _fork(self, environment: dict[str, str]) -> int:
        parent = str(os.getpid())
        pid = os.fork()
        if pid:
            return pid
        gc.enable()
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for connection in (self.listener, *(each.connection for each in self._clients)):
                connection.close()
            os.close(self._woken)
            os.close(self._waker)
            os.environ.clear()
            os.environ.update({**environment, PARENT: parent})
            self.be_rank(environment)
        except BaseException:  # noqa: BLE001 - a child must never go on as a second server
            traceback.print_exc()
        finally:
            os._exit(1)

    def _reap(self) -> None:
        for client in list(self._clients):
            world = client.world
            if world is not None:
                _reap(world)
                if not world.ranks:
                    client.world = None
                    client.send(WorldEnded(world.code))
            if client.is_gone and client.world is None:
                self._clients.remove(client)


def _reap(world: _World) -> None:
    """Take note of the ranks that have ended; where one has failed, end the others."""
    for pid in list(world.ranks):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            continue
        world.ranks.remove(pid)
        code = os.waitstatus_to_exitcode(status)
        if code != 0 and world.code == 0:
            world.code = code
            world.kill_at = time.monotonic() + LEAVE_S
            world.signal(signal.SIGTERM)
    if world.kill_at is not None and time.monotonic() >= world.kill_at:
        world.signal(signal.SIGKILL)
        world.kill_at = None


def _print_into(log: Path) -> None:
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    os.close(opened)


def main() -> None:
    """Serve with torch."""
    if PARENT in os.environ:
        die_with_parent()
    # Where memory runs out, a rank goes first, then this server, and last the supervisor, which says what happened.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("250")
    listener = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # Collections during the imports find nothing and take a tenth of their time. `_start` collects before it forks.
    gc.disable()
    from winnow.training.shared_preparation import SharedPreparation

    shared = SharedPreparation()
    ForkServer(listener, shared.check, shared.prepare, shared.cannot_fork, shared.be_rank).serve()
    shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)
    sys.stdout.flush()
    # Tearing torch down would delay the prompt.
    os._exit(0)


if __name__ == "__main__":
    main()

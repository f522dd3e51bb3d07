"""The further nodes of a worker group that spans several machines, as the supervisor on the first one sees them.

Each node connects to the supervisor and keeps the connection open. The supervisor has it start and end its part of the
world; the node reports how its ranks ended, so that a fault there fails the trial with its reason, like one here.

    node → supervisor   Hello; WorldEnded each time its part of a world has ended; Leaving
    supervisor → node   StartWorld, StopWorld, Dismiss; a closed connection means StopWorld
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import msgspec

from winnow.training.rank_errors import RankError


class Hello(msgspec.Struct, frozen=True, tag=True):
    """A node has connected."""

    node: int


class WorldEnded(msgspec.Struct, frozen=True, tag=True):
    """A node's ranks have ended; `error` is the record that the first rank to fail left, if any."""

    node: int
    world: int
    error: RankError | None


class Leaving(msgspec.Struct, frozen=True, tag=True):
    """A node was asked to stop. Sent before its ranks end, so that the supervisor knows why the world breaks."""

    node: int


class StartWorld(msgspec.Struct, frozen=True, tag=True):
    """Start the ranks of world number `world`; `experiment` is the file that they read, as JSON."""

    world: int
    experiment: str


class StopWorld(msgspec.Struct, frozen=True, tag=True):
    """End the ranks."""


class Dismiss(msgspec.Struct, frozen=True, tag=True):
    """The study is finished."""


FromNode = Hello | WorldEnded | Leaving
ToNode = StartWorld | StopWorld | Dismiss

CALL_PORT_OFFSET = 1
"""Nodes connect to the supervisor on the port after the rendezvous'."""
SILENT_S = 30
"""A machine that stays silent for so long counts as gone."""


def keep_alive(connection: socket.socket) -> None:
    """Have the system notice that the other side is gone: a machine that loses power closes no connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": (SILENT_S - 10) // 5,
        "TCP_USER_TIMEOUT": SILENT_S * 1000,
    }
    for option, value in options.items():
        if hasattr(socket, option):  # without them TCP takes two hours to notice
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Nodes:
    """Listens for the nodes, and gives each of them its part of the world, also if it connects late or again.

    Args:
        port: to listen on; 0 for a free one.
        count: how many further nodes the group has; 0 does not listen.
    """

    def __init__(self, port: int = 0, host: str = "0.0.0.0", *, count: int = 1) -> None:  # nosec B104
        self._count = count
        self._changed = threading.Condition()
        self._connected: dict[int, socket.socket] = {}
        self._world: StartWorld | None = None
        self._worlds = 0
        self._members: set[int] = set()
        self._ended: dict[int, WorldEnded] = {}
        self._left: set[int] = set()
        self._listener = socket.create_server((host, port)) if count else None
        if self._listener is not None:
            self.port = int(self._listener.getsockname()[1])
            threading.Thread(target=self._accept, args=(self._listener,), name="nodes", daemon=True).start()

    @property
    def connected(self) -> tuple[int, ...]:
        """The nodes that are connected."""
        with self._changed:
            return tuple(sorted(self._connected))

    @property
    def are_complete(self) -> bool:
        """Whether all nodes are connected."""
        return len(self.connected) >= self._count

    @property
    def have_all_their_parts(self) -> bool:
        """Whether no node has ended or lost its part of the world since that was started."""
        with self._changed:
            return not self._ended

    @property
    def left(self) -> tuple[int, ...]:
        """The nodes that were asked to stop since the world was started."""
        with self._changed:
            return tuple(sorted(self._left))

    def start_world(self, experiment: str) -> None:
        """Have all nodes start their part of a new world."""
        with self._changed:
            self._worlds += 1
            self._ended, self._left, self._members = {}, set(), set(self._connected)
            self._world = StartWorld(self._worlds, experiment)
            self._tell_all(self._world)

    def stop_world(self) -> None:
        """Have all nodes end their part of it."""
        with self._changed:
            self._world = None
            self._tell_all(StopWorld())

    def guilty_rank(self, timeout_s: float) -> RankError | None:
        """The record of the first rank to fail on another node, once all nodes have reported how this world ended.

        `left` is then settled, too: everything that a lost node sent has been read.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._connected.keys() - self._ended and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            errors = [ended.error for ended in self._ended.values() if ended.error is not None]
        return min(errors, key=lambda error: error.at_ns, default=None)

    def dismiss(self) -> None:
        """Tell all nodes that the study is finished, and stop listening."""
        if self._listener is None:
            return
        with self._changed:
            self._tell_all(Dismiss())
            for connection in self._connected.values():
                connection.close()
            self._connected = {}
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # dismissed
            while True:
                connection, _ = listener.accept()
                keep_alive(connection)
                threading.Thread(target=self._listen, args=(connection,), name="node", daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        decoder: msgspec.json.Decoder[FromNode] = msgspec.json.Decoder(FromNode)
        node: int | None = None
        with contextlib.suppress(OSError, msgspec.DecodeError), connection, connection.makefile("rb") as lines:
            for line in lines:
                message = decoder.decode(line)
                with self._changed:
                    match message:
                        case Hello():
                            node = message.node
                            self._welcome(node, connection)
                        case WorldEnded() if message.world == self._worlds:
                            self._ended[message.node] = message
                        case Leaving():
                            self._left.add(message.node)
                            break  # Nothing follows: the node counts as gone, though its ranks may still be ending.
                    self._changed.notify_all()
        with self._changed:
            if node is not None and self._connected.get(node) is connection:
                del self._connected[node]
                self._changed.notify_all()

    def _welcome(self, node: int, connection: socket.socket) -> None:
        """Let a late node join the world. A node that reconnects has lost its part, which ends that world."""
        self._connected[node] = connection
        if self._world is None:
            return
        if node in self._members:
            self._ended[node] = WorldEnded(node, self._worlds, None)
            return
        self._members.add(node)
        self._tell(connection, self._world)

    def _tell_all(self, message: ToNode) -> None:
        for connection in self._connected.values():
            self._tell(connection, message)

    def _tell(self, connection: socket.socket, message: ToNode) -> None:
        with contextlib.suppress(OSError):  # the thread that listens to it notices that it is gone
            connection.sendall(msgspec.json.encode(message) + b"\n")

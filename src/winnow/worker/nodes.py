"""The further nodes of a worker group, seen from the supervisor on the first one.

Where a group is spread over several machines, its supervisor is on one of them and has the others start and end their
part of the world, over a connection that each of them makes and holds. So that a fault on another node ends a trial
with its reason, as a fault here does, what its ranks leave behind is sent back.

    node → supervisor   Hello, then WorldEnded each time that its part of a world has ended; Leaving
    supervisor → node   StartWorld, StopWorld, Dismiss; the end of the connection means StopWorld
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import msgspec

from winnow.training.rank_errors import RankError


class Hello(msgspec.Struct, frozen=True, tag=True):
    """A node is there."""

    node: int


class WorldEnded(msgspec.Struct, frozen=True, tag=True):
    """A node's ranks have ended; `error` is what the guilty one of them left, if any did."""

    node: int
    world: int
    error: RankError | None


class Leaving(msgspec.Struct, frozen=True, tag=True):
    """A node was asked to stop. Said before its ranks end: whoever sees the world break can know why."""

    node: int


class StartWorld(msgspec.Struct, frozen=True, tag=True):
    """Start your ranks for world number `world`; `experiment` is the file that they read, as JSON."""

    world: int
    experiment: str


class StopWorld(msgspec.Struct, frozen=True, tag=True):
    """End your ranks."""


class Dismiss(msgspec.Struct, frozen=True, tag=True):
    """There is nothing left to do."""


FromNode = Hello | WorldEnded | Leaving
ToNode = StartWorld | StopWorld | Dismiss

CALL_PORT_OFFSET = 1
"""Nodes call the supervisor on the port after the rendezvous'."""

SILENT_S = 30
"""After how long a machine that has gone without a word is taken for gone."""


def keep_alive(connection: socket.socket) -> None:
    """Have the system notice that the other side is gone: a machine that loses power closes nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has these; without them it takes the two hours that TCP's authors thought of.
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", (SILENT_S - 10) // 5)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)


class Nodes:
    """The supervisor's side: listens from the start, and tells every node, also one that comes late or again.

    Args:
        port: to listen on; 0 for a free one.
        count: how many further nodes the group has.
    """

    def __init__(self, port: int, host: str = "0.0.0.0", *, count: int = 1) -> None:
        self._count = count
        self._listener = socket.create_server((host, port))
        self.port = int(self._listener.getsockname()[1])
        """Where it listens."""
        self._changed = threading.Condition()
        self._connected: dict[int, socket.socket] = {}
        self._world: StartWorld | None = None
        self._worlds = 0
        self._members: set[int] = set()
        self._ended: dict[int, WorldEnded] = {}
        self._left: set[int] = set()
        threading.Thread(target=self._accept, name="nodes", daemon=True).start()

    @property
    def connected(self) -> tuple[int, ...]:
        """The nodes that are there."""
        with self._changed:
            return tuple(sorted(self._connected))

    @property
    def are_complete(self) -> bool:
        """Whether all of them are there."""
        return len(self.connected) >= self._count

    @property
    def have_all_their_parts(self) -> bool:
        """Whether none has lost its part of the world, or has ended it, since that was started."""
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
            self._ended = {}
            self._left = set()
            self._members = set(self._connected)
            self._world = StartWorld(self._worlds, experiment)
            self._tell_all(self._world)

    def stop_world(self) -> None:
        """Have all nodes end their part of it."""
        with self._changed:
            self._world = None
            self._tell_all(StopWorld())

    def guilty_rank(self, timeout_s: float) -> RankError | None:
        """What the first rank of another node to fail has left, once all nodes have said how this world ended.

        A node that is gone by then has been heard to its last word: `left` is settled too.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._connected.keys() - self._ended and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            errors = [ended.error for ended in self._ended.values() if ended.error is not None]
        return min(errors, key=lambda error: error.at_ns, default=None)

    def dismiss(self) -> None:
        """Send all nodes home; none is spoken to any more."""
        with self._changed:
            self._tell_all(Dismiss())
            for connection in self._connected.values():
                connection.close()
            self._connected = {}
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # dismissed
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
                            break  # nothing follows: as good as gone, though its ranks may take a while to end
                    self._changed.notify_all()
        with self._changed:
            if node is not None and self._connected.get(node) is connection:
                del self._connected[node]
                self._changed.notify_all()

    def _welcome(self, node: int, connection: socket.socket) -> None:
        """Have a node that comes late take part. One that comes again has lost its part: that world is at its end."""
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
        # A node that has gone is seen by its listener.
        with contextlib.suppress(OSError):
            connection.sendall(msgspec.json.encode(message) + b"\n")

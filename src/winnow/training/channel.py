"""Rank 0's end of the socket to its supervisor: one JSON object a line, both ways.

A separate thread reads, so that a closed channel ends this process in the middle of a training, too. Only Linux kills
it together with its supervisor.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from pathlib import Path
from typing import NoReturn

import msgspec

from winnow.config.exit_codes import RankExit
from winnow.training.messages import FromRank, Progress

PROGRESS_EVERY_S = 0.2


class Channel:
    """A connection to the supervisor."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._last_progress = 0.0
        threading.Thread(target=self._read, name="channel", daemon=True).start()

    @classmethod
    def connect(cls, path: Path) -> Channel:
        """Connect to the socket on which the supervisor listens. Raises OSError if no supervisor listens there."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(path))
        return cls(connection)

    def receive(self) -> bytes:
        """The next line; waits for it as long as it takes."""
        return self._lines.get()

    def send(self, message: FromRank) -> None:
        """Send a message; of a fast training's progress only some. Ends this process if the supervisor is gone."""
        if isinstance(message, Progress) and not self._is_due(message):
            return
        try:
            self._connection.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            _end_with_supervisor()

    def _is_due(self, progress: Progress) -> bool:
        now = time.monotonic()
        if now - self._last_progress < PROGRESS_EVERY_S:
            return False
        self._last_progress = now
        return True

    def _read(self) -> None:
        with self._connection.makefile("rb") as lines:
            try:
                for line in lines:
                    self._lines.put(line)
            except OSError:
                pass
        _end_with_supervisor()


def _end_with_supervisor() -> NoReturn:
    # Not sys.exit: in the reading thread that would end the thread alone, and elsewhere it would look like the fault of
    # the trial. Not 0: torchrun would wait for the other ranks.
    os._exit(RankExit.LOST_PEER)

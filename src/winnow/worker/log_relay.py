"""Copies what a group's ranks write to their logs to this process's standard error.

In a container that is where people look: the log files are lost with the container. A thread reads what the files have
gained, so the ranks need not know of it, and a rank that is killed loses no line.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TextIO

POLL_S = 0.25


class LogRelay:
    """While entered, every line that `folder/*.log` gain is written to `stream`, after the log's name."""

    def __init__(self, folder: Path, stream: TextIO = sys.stderr) -> None:
        self._folder = folder
        self._stream = stream
        self._read: dict[Path, int] = {}
        self._unfinished: dict[Path, bytes] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-relay", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._ending.wait(POLL_S):
            self._relay()
        self._relay()
        for path, rest in self._unfinished.items():
            if rest:
                self._write(path, [rest])

    def _relay(self) -> None:
        for path in sorted(self._folder.glob("*.log")):
            with path.open("rb") as log:
                log.seek(self._read.get(path, 0))
                gained = log.read()
            if gained:
                self._read[path] = self._read.get(path, 0) + len(gained)
                *lines, self._unfinished[path] = (self._unfinished.get(path, b"") + gained).split(b"\n")
                self._write(path, lines)

    def _write(self, path: Path, lines: list[bytes]) -> None:
        self._stream.writelines(f"{path.stem}: {line.decode(errors='replace')}\n" for line in lines)
        self._stream.flush()

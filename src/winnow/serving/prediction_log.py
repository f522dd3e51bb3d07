"""Writes predictions and their outcomes as JSON lines, by a thread of its own. docs/outcomes.md lists the keys.

A request hands over what it has and goes on: nothing is encoded or written before its answer. What waits is bounded:
where the thread cannot keep up, lines of predictions are dropped and counted, and outcomes are refused.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from winnow.bundle.columns import Column, slices_of
from winnow.routing import STDOUT, PredictionLogSettings
from winnow.serving import codec
from winnow.serving.metrics import Metrics
from winnow.serving.settings import SettingError
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

log = logging.getLogger("winnow.serving")

EVERY_S = 0.2
MOST_WAITING_BYTES = 32 * 2**20
LINE_BYTES = 256
"""What a line that waits is counted for, besides its numbers."""
WRITTEN_BYTES = 4096
"""Most bytes of one write, but for a longer line: a pipe (PIPE_BUF) does not mix them with other writers' lines."""
STOP_S = 5.0
"""How long a stopping server waits for its last lines."""


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """What turned out to be true of a row of a request."""

    request_id: str
    outcome: str | int | float | bool | dict[str, float]
    row: int = 0


class _Predicted(NamedTuple):
    time: float
    request_id: str
    route: bytes
    matrix: Matrix | None
    outputs: Matrix
    size: int


class _Learnt(NamedTuple):
    lines: bytes
    outcomes: int
    size: int


class PredictionLog:
    """The log of one server.

    Raises:
        SettingError: the file cannot be written, or the model has no such column.
    """

    def __init__(self, signature: Signature, settings: PredictionLogSettings, metrics: Metrics) -> None:
        self._signature = signature
        self._settings = settings
        self._metrics = metrics
        self._columns = _columns(signature, settings.fields)
        self._below = int(settings.sample * 2**64)
        self._places = {name: index for index, name in enumerate(signature.classes or ())}
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()
        self._waiting: list[_Predicted | _Learnt] = []
        self._waiting_bytes = 0
        self._stopping = threading.Event()
        self._is_failing = False
        try:
            os.close(self._opened())
        except OSError as error:
            raise SettingError("log.to", "a file that can be written", f"{settings.to!r} ({error.strerror})") from error
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def predicted(self, request_id: str, route: bytes, matrix: Matrix, outputs: Matrix) -> None:
        """Hand over the answer to a request; returns at once.

        Args:
            route: the router's header, empty without a router.
            matrix, outputs: arrays [rows, …] that do not change any more.
        """
        if self._settings.sample < 1 and place_of(request_id) >= self._below:
            return
        kept = matrix if self._columns else None
        size = len(outputs) * LINE_BYTES + outputs.nbytes + (matrix.nbytes if kept is not None else 0)
        if not self._add(_Predicted(time.time(), request_id, route, kept, outputs, size)):
            self._metrics.log_dropped.inc(len(outputs))

    def learnt(self, outcomes: Sequence[Outcome]) -> bool:
        """Write outcomes; False where there is no room for them now."""
        now = time.time()
        given = {"event": "outcome", "time": now, "deployment": self._settings.deployment or None}
        lines = b"".join(
            self._encode({**given, "request_id": each.request_id, "row": each.row, "outcome": each.outcome}) + b"\n"
            for each in outcomes
        )
        return self._add(_Learnt(lines, len(outcomes), len(lines)))

    def close(self) -> None:
        """Write what waits, and stop."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def _add(self, item: _Predicted | _Learnt) -> bool:
        with self._lock:
            if self._waiting_bytes + item.size > MOST_WAITING_BYTES:
                return False
            self._waiting_bytes += item.size
            self._waiting.append(item)
        return True

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(EVERY_S)
            with self._lock:
                taken, self._waiting = self._waiting, []
            if taken:
                self._write(taken)

    def _write(self, taken: Iterable[_Predicted | _Learnt]) -> None:
        try:
            file = self._opened()
        except OSError as error:
            self._note(error)
            file = None
        for item in taken:
            event, count = (
                ("prediction", len(item.outputs)) if isinstance(item, _Predicted) else ("outcome", item.outcomes)
            )
            lines = self._lines(item) if isinstance(item, _Predicted) else item.lines.splitlines(keepends=True)
            try:
                if file is None:
                    self._metrics.log_dropped.inc(count)
                else:
                    for block in _blocks(lines):
                        _write_all(file, block)
                    self._metrics.log_lines.labels(event).inc(count)
                    self._is_failing = False
            except OSError as error:
                self._metrics.log_dropped.inc(count)
                self._note(error)
            finally:
                with self._lock:
                    self._waiting_bytes -= item.size
        if file is not None:
            os.close(file)

    def _opened(self) -> int:
        """The file, opened for each batch, since a collector may have moved it away."""
        if self._settings.to == STDOUT:
            return os.dup(sys.stdout.fileno())
        return os.open(self._settings.to, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def _note(self, error: OSError) -> None:
        if not self._is_failing:
            log.error("the prediction log cannot be written: %s", error.strerror)
        self._is_failing = True

    def _lines(self, item: _Predicted) -> Iterator[bytes]:
        settings, signature = self._settings, self._signature
        serial, assigned, kind = parsed_route(item.route)
        line: dict[str, Any] = {
            "event": "prediction",
            "time": item.time,
            "deployment": settings.deployment or None,
            "model": signature.name,
            "version": signature.version,
            "revision": settings.revision or None,
            "route": serial,
            "assigned": assigned or settings.revision or None,
            "kind": kind,
            "request_id": item.request_id,
        }
        for row, predicted in enumerate(codec.predictions(item.outputs, signature)):
            line["row"], line["prediction"] = row, predicted
            place = self._places.get(predicted) if self._places else None
            line["probability"] = float(item.outputs[row, place]) if place is not None else None
            if item.matrix is not None:
                line["fields"] = {column.name: _raw(column, item.matrix[row, part]) for column, part in self._columns}
            yield self._encode(line) + b"\n"


def place_of(request_id: str) -> int:
    """Where a request lies among all, from 0 to below 2**64: every server samples the same requests."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest())


def parsed_route(header: bytes) -> tuple[int | None, int | None, str]:
    """The route's serial, the revision that it chose, and how the request came to this server: see docs/outcomes.md."""
    serial, _, rest = header.partition(b" ")
    number, _, kind = rest.partition(b" ")
    if not (serial.isdigit() and number.isdigit() and len(header) < 64 and kind in ROUTED):
        return None, None, "assigned"
    return int(serial), int(number), kind.decode()


ROUTED = (b"assigned", b"fallback", b"mirrored", b"chosen")


def _columns(signature: Signature, fields: Sequence[str]) -> tuple[tuple[Column, slice], ...]:
    """The columns that are logged, and where their numbers lie in a row."""
    columns = signature.columns or ()
    found = {column.name: (column, part) for column, part in zip(columns, slices_of(columns), strict=True)}
    for name in fields:
        if name not in found:
            raise SettingError("log.fields", "columns of the model", repr(name))
    return tuple(found[name] for name in fields)


def _raw(column: Column, numbers: Any) -> Any:
    if column.kind == "number" and column.dtype != "long":
        return None if np.isnan(numbers[0]) else float(str(numbers[0]))  # 17.99, where float() gives 17.989999771…
    return column.decode(numbers)


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, joined to blocks of at most `WRITTEN_BYTES` where they are short enough."""
    block: list[bytes] = []
    size = 0
    for line in lines:
        if block and size + len(line) > WRITTEN_BYTES:
            yield b"".join(block)
            block, size = [], 0
        block.append(line)
        size += len(line)
    if block:
        yield b"".join(block)


def _write_all(file: int, block: bytes) -> None:
    while block:
        block = block[os.write(file, block) :]

"""Writes predictions and their outcomes as JSON lines, by a thread of its own. docs/outcomes.md lists the keys.

A request hands over what it has and goes on: nothing is encoded or written before its answer. What waits is bounded:
where the thread cannot keep up, lines of predictions are dropped and counted, and outcomes are refused.
"""

from __future__ import annotations

import hashlib
import itertools
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
REQUESTS_AT_ONCE = 32
"""Few, since the server waits while Python code of the thread runs."""
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
    lines: int
    size: int


class _Learnt(NamedTuple):
    text: bytes
    lines: int
    size: int


class PredictionLog:
    """The log of one server. Raises SettingError where the file cannot be written, or the model has no such column."""

    def __init__(self, signature: Signature, settings: PredictionLogSettings, metrics: Metrics) -> None:
        self._signature = signature
        self._settings = settings
        self._metrics = metrics
        self._columns = _columns(signature, settings.fields)
        self._below = int(settings.sample * 2**64)
        self._places = {name: index for index, name in enumerate(signature.classes or ())}
        self._same = {
            "event": "prediction",
            "deployment": settings.deployment or None,
            "model": signature.name,
            "version": signature.version,
            "revision": settings.revision or None,
        }
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
        if not self._add(_Predicted(time.time(), request_id, route, kept, outputs, len(outputs), size)):
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
                try:
                    self._write(taken)
                except Exception:
                    log.exception("a batch of the prediction log could not be written")
                with self._lock:
                    self._waiting_bytes -= sum(each.size for each in taken)

    def _write(self, taken: Sequence[_Predicted | _Learnt]) -> None:
        try:
            file = self._opened()
        except OSError as error:
            self._drop(sum(each.lines for each in taken), error)
            return
        try:
            for block in _blocks(self._lines(taken)):
                try:
                    rest = b"".join(block)
                    while rest:
                        rest = rest[os.write(file, rest) :]
                    self._metrics.log_lines.inc(len(block))
                    self._is_failing = False
                except OSError as error:
                    self._drop(len(block), error)
        finally:
            os.close(file)

    def _opened(self) -> int:
        """The file, opened for each batch, since a collector may have moved it away."""
        if self._settings.to == STDOUT:
            return os.dup(sys.stdout.fileno())
        return os.open(self._settings.to, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def _drop(self, lines: int, error: OSError) -> None:
        self._metrics.log_dropped.inc(lines)
        if not self._is_failing:
            log.error("the prediction log cannot be written: %s", error.strerror)
        self._is_failing = True

    def _lines(self, taken: Sequence[_Predicted | _Learnt]) -> Iterator[bytes]:
        predicted = [each for each in taken if isinstance(each, _Predicted)]
        for start in range(0, len(predicted), REQUESTS_AT_ONCE):
            yield from self._predictions(predicted[start : start + REQUESTS_AT_ONCE])
        for each in taken:
            if isinstance(each, _Learnt):
                yield from each.text.splitlines(keepends=True)

    def _predictions(self, items: Sequence[_Predicted]) -> Iterator[bytes]:
        """The lines of several requests: their rows are read together, which takes half the time."""
        outputs = np.concatenate([each.outputs for each in items])
        predicted = codec.predictions(outputs, self._signature)
        probabilities: list[float | None] = [None] * len(predicted)
        if self._places:
            places = [self._places[each] for each in predicted]
            probabilities = outputs[np.arange(len(places)), places].tolist()
        fields = self._fields([each.matrix for each in items if each.matrix is not None])
        rest = zip(predicted, probabilities, fields or itertools.repeat(None), strict=False)
        for item in items:
            serial, assigned, kind = parsed_route(item.route)
            line: dict[str, Any] = {**self._same, "time": item.time, "request_id": item.request_id, "route": serial}
            line |= {"assigned": assigned or self._settings.revision or None, "kind": kind}
            for row in range(len(item.outputs)):
                line["row"] = row
                line["prediction"], line["probability"], found = next(rest)
                if found is not None:
                    line["fields"] = found
                yield self._encode(line) + b"\n"

    def _fields(self, matrices: Sequence[Matrix]) -> list[dict[str, Any]]:
        """The logged columns of each row; empty where none are."""
        if not matrices:
            return []
        matrix = np.concatenate(matrices)
        names = [column.name for column, _ in self._columns]
        values = [_raw(column, matrix[:, part]) for column, part in self._columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


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


def _raw(column: Column, numbers: Matrix) -> list[Any]:
    """The values of a column, as JSON has them, from its numbers [rows, width]."""
    if column.kind == "number" and column.dtype != "long":
        shortest = numbers[:, 0].astype(str).tolist()  # 17.99, where tolist() alone gives 17.989999771…
        return [None if each == "nan" else float(each) for each in shortest]
    return [column.decode(row) for row in numbers]


def _blocks(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines in blocks of at most `WRITTEN_BYTES`, where they are short enough."""
    block: list[bytes] = []
    size = 0
    for line in lines:
        if block and size + len(line) > WRITTEN_BYTES:
            yield block
            block, size = [], 0
        block.append(line)
        size += len(line)
    if block:
        yield block

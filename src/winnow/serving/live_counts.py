"""Counts what a replica is asked and answers in the bins of the model's reference profile, for `/metrics`.

No row is kept: a request hands its numbers over and goes on; a thread counts them, several requests at a time, and
forgets them. What waits is bounded: where the thread cannot keep up, rows are left out and counted as such, which loses
a sample of them and biases nothing.

Every series exists from the start with 0, since Prometheus' `increase` does not see a counter's first value. How many
there are depends on the profile alone: at most 200 columns with at most 52 bins.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from winnow.bundle.profile import PREDICTION, ColumnProfile, Profile
from winnow.bundle.row_counter import Answering, InputCounter, OutputCounter, RowCounter
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

log = logging.getLogger("winnow.serving")

EVERY_S = 0.5
MOST_WAITING_BYTES = 16 * 2**20
ROWS_AT_ONCE = 512
STOP_S = 2.0


class LiveCounts(Collector):
    """The counts of one replica."""

    def __init__(self, signature: Signature, profile: Profile, *, most_waiting_bytes: int = MOST_WAITING_BYTES) -> None:
        answering = Answering(signature.classes, signature.positive, signature.threshold)
        self._profile = profile
        self._most_waiting_bytes = most_waiting_bytes
        self._inputs = InputCounter(profile.columns, signature.columns)
        self._outputs = OutputCounter(profile.outputs, answering)
        self._uncounted = 0
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._waiting: list[tuple[Matrix, Matrix]] = []
        self._waiting_bytes = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-counts", daemon=True)
        self._thread.start()

    def add(self, matrix: Matrix, outputs: Matrix) -> None:
        """Hand over the rows of a request and their answers, arrays [rows, …] that do not change any more."""
        size = matrix.nbytes + outputs.nbytes
        with self._lock:
            if self._waiting_bytes + size > self._most_waiting_bytes:
                self._uncounted += len(outputs)
                return
            self._waiting_bytes += size
            self._waiting.append((matrix, outputs))

    def close(self) -> None:
        """Count what waits, and stop."""
        self._stopping.set()
        self._thread.join(STOP_S)

    def collect(self) -> Iterator[Metric]:
        """The series; requests of the last half second may be missing."""
        with self._counting:
            yield from _counted("feature", "column", self._profile.columns, self._inputs)
            yield from _counted("output", "output", self._profile.outputs, self._outputs)
            predicted = CounterMetricFamily("winnow_predictions", "Rows by predicted class.", labels=["prediction"])
            for profile, tally in zip(self._profile.outputs, self._outputs.tallies(), strict=True):
                if profile.name == PREDICTION:
                    for label, count in zip(profile.labels, tally.counts.bins, strict=True):
                        predicted.add_metric([label], count)
            yield predicted
            yield CounterMetricFamily("winnow_counted_rows", "Rows in the counts above.", value=self._outputs.rows)
        yield CounterMetricFamily("winnow_uncounted_rows", "Rows left out of the counts.", value=self._uncounted)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(EVERY_S)
            with self._lock:
                taken, self._waiting = self._waiting, []
                self._waiting_bytes = 0
            for block in _blocks(taken):
                with self._counting:  # short, since a scrape waits for it
                    self._count(block)

    def _count(self, block: Sequence[tuple[Matrix, Matrix]]) -> None:
        try:
            self._inputs.add(np.concatenate([matrix for matrix, _ in block]))
            self._outputs.add(np.concatenate([outputs for _, outputs in block]))
        except Exception:
            log.exception("rows could not be counted")


def _blocks(taken: Sequence[tuple[Matrix, Matrix]]) -> Iterator[list[tuple[Matrix, Matrix]]]:
    """Requests that are counted together: their rows at least `ROWS_AT_ONCE`, but for the last ones."""
    block: list[tuple[Matrix, Matrix]] = []
    rows = 0
    for each in taken:
        block.append(each)
        rows += len(each[1])
        if rows >= ROWS_AT_ONCE:
            yield block
            block, rows = [], 0
    if block:
        yield block


def _counted(kind: str, label: str, profiles: Iterable[ColumnProfile], counter: RowCounter) -> Iterator[Metric]:
    """The series of columns or of outputs: live counts, and what of the profile a query compares them with."""
    values = CounterMetricFamily(f"winnow_{kind}_values", f"Rows by bin of each {label}.", labels=[label, "bin"])
    reference = GaugeMetricFamily(f"winnow_{kind}_reference", "The profile's rows in each bin.", labels=[label, "bin"])
    sums = {
        name: CounterMetricFamily(f"winnow_{kind}_{name}", text, labels=[label])
        for name, text in (
            ("above", "Sum of what values lie above the centre."),
            ("below", "Sum of what values lie below the centre."),
            ("squares", "Sum of the squared distances from the centre."),
        )
    }
    constants = {
        name: GaugeMetricFamily(f"winnow_{kind}_{name}", text, labels=[label])
        for name, text in (
            ("centre", "The profile's median."),
            ("scale", "The profile's standard deviation."),
            ("reference_mean", "The profile's mean."),
        )
    }
    for profile, tally in zip(profiles, counter.tallies(), strict=True):
        for name, live, known in _bins(profile, tally.counts.bins, tally.counts.missing, tally.counts.unknown):
            values.add_metric([profile.name, name], live)
            reference.add_metric([profile.name, name], known)
        if profile.labels:
            continue
        for name, value in (("above", tally.above), ("below", tally.below), ("squares", tally.counts.square_total)):
            sums[name].add_metric([profile.name], value)
        mean = profile.centre + profile.counts.total / max(sum(profile.counts.bins), 1)
        for name, value in (("centre", profile.centre), ("scale", profile.scale), ("reference_mean", mean)):
            constants[name].add_metric([profile.name], value)
    yield from (values, reference, *sums.values(), *constants.values())


def _bins(profile: ColumnProfile, bins: Iterable[int], missing: int, unknown: int) -> Iterator[tuple[str, int, int]]:
    """The name of each bin, with its live and its reference rows."""
    for index, pair in enumerate(zip(bins, profile.counts.bins, strict=True)):
        yield f"{index:02}", *pair
    yield "missing", missing, profile.counts.missing
    yield "unknown", unknown, profile.counts.unknown

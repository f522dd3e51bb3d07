"""Counts what a replica is asked and answers in the bins of the model's reference profile, for `/metrics`.

No row is kept: a request hands its numbers over and goes on; a thread counts them, several requests at a time, and
forgets them. What waits is bounded: where the thread cannot keep up, rows are left out and counted as such, which loses
a sample of them and biases nothing.

Every series exists from the start with 0, since Prometheus' `increase` does not see a counter's first value. How many
there are depends on the profile alone: at most 200 columns with at most 52 bins. The text of the series is made by a
template, since it is made on the thread that answers requests: prometheus_client takes ten times as long.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from winnow.bundle.profile import PREDICTION, ColumnProfile, Profile
from winnow.bundle.row_counter import Answering, InputCounter, OutputCounter, RowCounter
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

log = logging.getLogger("winnow.serving")

EVERY_S = 0.5
MOST_WAITING_BYTES = 16 * 2**20
ROWS_AT_ONCE, BYTES_AT_ONCE = 512, 2**20
"""How much is counted as one: enough that numpy works more than Python does, and little of a container's memory."""
STOP_S = 2.0


class LiveCounts:
    """The counts of one replica."""

    def __init__(self, signature: Signature, profile: Profile, *, most_waiting_bytes: int = MOST_WAITING_BYTES) -> None:
        answering = Answering(signature.classes, signature.positive, signature.threshold)
        self._profile = profile
        self._most_waiting_bytes = most_waiting_bytes
        self._inputs = InputCounter(profile.columns, signature.columns)
        self._outputs = OutputCounter(profile.outputs, answering)
        self._uncounted = 0
        self._text = _template(profile)
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

    def exposition(self) -> bytes:
        """The series in Prometheus' text format; requests of the last half second may be missing."""
        with self._counting:
            found = [*_figures(self._inputs), *_figures(self._outputs), self._outputs.rows]
            predicted = self._predicted()
        return (self._text % (*found, self._uncounted, *predicted)).encode()

    def _predicted(self) -> list[int]:
        """Rows by predicted class."""
        pairs = zip(self._profile.outputs, self._outputs.counts(), strict=True)
        return next((list(counts.bins) for profile, counts in pairs if profile.name == PREDICTION), [])

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
    """Requests that are counted together: until they are large enough, but for the last ones."""
    block: list[tuple[Matrix, Matrix]] = []
    rows, size = 0, 0
    for each in taken:
        block.append(each)
        rows, size = rows + len(each[1]), size + each[0].nbytes
        if rows >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield block
            block, rows, size = [], 0, 0
    if block:
        yield block


def _figures(counter: RowCounter) -> Iterator[float]:
    """What is live of one kind, in the order of its part of the template."""
    for each in (counter.bins, counter.above, counter.below, counter.squares):
        yield from each.tolist()


def _template(profile: Profile) -> str:
    """All series, with places for `_figures` of inputs and outputs, the rows, and the predicted classes."""
    predicted = next((each.labels for each in profile.outputs if each.name == PREDICTION), ())
    return "".join(
        (
            *_series("feature", "column", profile.columns),
            *_series("output", "output", profile.outputs),
            _family("counter", "winnow_counted_rows_total", "Rows in the counts above.", [("", None)]),
            _family("counter", "winnow_uncounted_rows_total", "Rows left out of the counts.", [("", None)]),
            _family(
                "counter",
                "winnow_predictions_total",
                "Rows by predicted class.",
                [(_labelled(prediction=each), None) for each in predicted],
            ),
        )
    )


def _series(kind: str, label: str, profiles: Sequence[ColumnProfile]) -> Iterator[str]:
    """The series of columns or of outputs: live counts, and what of the profile a query compares them with."""
    bins = [
        (_labelled(bin=name, **{label: each.name}), known) for each in profiles for name, known in _reference_bins(each)
    ]
    numbers = [each for each in profiles if each.edges]
    labels = [_labelled(**{label: each.name}) for each in numbers]
    means = [each.centre + each.counts.total / max(sum(each.counts.bins), 1) for each in numbers]
    of_bins, of_numbers = [(each, None) for each, _ in bins], [(each, None) for each in labels]
    name = f"winnow_{kind}"
    yield _family("counter", f"{name}_values_total", f"Rows by bin of each {label}.", of_bins)
    yield _family("counter", f"{name}_above_total", "Sum of what values lie above the centre.", of_numbers)
    yield _family("counter", f"{name}_below_total", "Sum of what values lie below the centre.", of_numbers)
    yield _family("counter", f"{name}_squares_total", "Sum of the squared distances from the centre.", of_numbers)
    yield _family("gauge", f"{name}_reference", "The profile's rows in each bin.", bins)
    constants = {
        "centre": ("The profile's median.", [each.centre for each in numbers]),
        "scale": ("The profile's standard deviation.", [each.scale for each in numbers]),
        "reference_mean": ("The profile's mean.", means),
    }
    for suffix, (text, values) in constants.items():
        yield _family("gauge", f"{name}_{suffix}", text, list(zip(labels, values, strict=True)))


def _reference_bins(profile: ColumnProfile) -> Iterator[tuple[str, int]]:
    """The name of each bin, with its reference rows, in the order of `RowCounter.bins`."""
    for index, rows in enumerate(profile.counts.bins):
        yield f"{index:02}", rows
    yield "missing", profile.counts.missing
    yield "unknown", profile.counts.unknown


def _family(kind: str, name: str, text: str, series: Iterable[tuple[str, float | None]]) -> str:
    """The lines of a metric, from the labels of each series and its value; None leaves a place for it."""
    lines = [f"{name}{labels} {'%s' if value is None else value}\n" for labels, value in series]
    return "".join((f"# HELP {name} {text}\n# TYPE {name} {kind}\n", *lines)) if lines else ""


def _labelled(**labels: str) -> str:
    """Labels as the text format has them, for a template."""
    special = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "%": "%%"})
    pairs = ",".join(f'{name}="{text.translate(special)}"' for name, text in labels.items())
    return f"{{{pairs}}}"

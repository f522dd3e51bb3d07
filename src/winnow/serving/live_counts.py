"""Counts what a replica is asked and answers in the bins of the model's reference profile, for `/metrics`.

Rows are copied into a small buffer, counted together when it is full or when the counts are asked for, and overwritten:
keeping the arrays of requests for a thread that counts them costs more. Copying and counting take `SHARE` of the time
at most, averaged over a while. Under a load that would take more, requests are left out for some time, and their rows
counted as such: what is left out depends on the load, and not on the rows.

Every series exists from the start with 0, since Prometheus' `increase` does not see a counter's first value. How many
there are depends on the profile alone: at most 200 columns with at most 52 bins. The text of the series is made by a
template, since it is made on the thread that answers requests: prometheus_client takes a hundred times as long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from winnow.bundle.columns import width_of
from winnow.bundle.profile import PREDICTION, ColumnProfile, Profile
from winnow.bundle.row_counter import Answering, InputCounter, OutputCounter, RowCounter, sampled
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

log = logging.getLogger("winnow.serving")

BUFFER_BYTES, FEWEST_ROWS, MOST_ROWS = 2**16, 16, 512
"""Of the rows that are counted together: numpy works more than Python does, for less than a millisecond."""
SHARE, MOST_SAVED_S, COPY_S = 0.01, 0.25, 2.5e-6
"""Seconds of copying and counting for each second; how many may be saved up, so that a burst of some 80,000 requests is
counted whole; and what copying takes for each request among others, which is more than it takes alone."""


class LiveCounts:
    """The counts of one replica.

    Args:
        share: seconds of copying and counting for each second.
        now, used: seconds of a clock that never goes back, and of this thread's processor time.
    """

    def __init__(
        self,
        signature: Signature,
        profile: Profile,
        *,
        share: float = SHARE,
        now: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.thread_time,
    ) -> None:
        answering = Answering(signature.classes, signature.positive, signature.threshold)
        self._outputs_of = profile.outputs
        self._inputs = InputCounter(profile.columns, signature.columns)
        self._outputs = OutputCounter(profile.outputs, answering)
        self._share, self._now, self._used = share, now, used
        self._then, self._saved_s, self._rests_until = now(), MOST_SAVED_S, 0.0
        self._left_out = self._filled = self._copied = 0
        self._text = _template(profile)
        self._is_table = signature.columns is not None
        encoded = signature.row_values if signature.columns is None else width_of(signature.columns)
        width = sampled(np.empty((1, encoded), np.float32)).shape[1]
        self._room = min(max(BUFFER_BYTES // (4 * width), FEWEST_ROWS), MOST_ROWS)
        self._matrix = np.empty((self._room, encoded if self._is_table else width), np.float32)
        self._answers = np.empty((self._room, signature.outputs), np.float32)
        self._lock = threading.Lock()

    def add(self, matrix: Matrix, outputs: Matrix) -> None:
        """Count the rows of a request, [rows, *input_shape], and their answers, [rows, outputs], soon."""
        rows = len(outputs)
        if self._rests_until and self._now() < self._rests_until:
            self._left_out += rows
            return
        flat = matrix if self._is_table else sampled(matrix.reshape(rows, -1))
        try:
            for start in range(0, rows, self._room):
                self._copy(flat[start : start + self._room], outputs[start : start + self._room])
        except Exception:  # the answer is right without its count
            self._left_out += rows
            log.exception("a request could not be counted")

    def exposition(self) -> bytes:
        """The series in Prometheus' text format."""
        with self._lock:
            self._count()
            found = [*_figures(self._inputs), *_figures(self._outputs), self._outputs.rows, self._left_out]
            pairs = zip(self._outputs_of, self._outputs.counts(), strict=True)
            predicted = next((counts.bins for profile, counts in pairs if profile.name == PREDICTION), ())
        return (self._text % (*found, *predicted)).encode()

    def _copy(self, matrix: Matrix, outputs: Matrix) -> None:
        with self._lock:
            if self._filled + len(outputs) > self._room:
                self._count()
            end = self._filled + len(outputs)
            self._matrix[self._filled : end], self._answers[self._filled : end] = matrix, outputs
            self._filled, self._copied = end, self._copied + 1

    def _count(self) -> None:
        """Count what is in the buffer, and rest if that took more time than there is."""
        if not self._filled:
            return
        began, now = self._used(), self._now()
        try:
            self._inputs.add(self._matrix[: self._filled])
            self._outputs.add(self._answers[: self._filled])
        except Exception:
            log.exception("rows could not be counted")
        self._saved_s = min(self._saved_s + (now - self._then) * self._share, MOST_SAVED_S)
        self._saved_s -= self._used() - began + self._copied * COPY_S
        self._rests_until = now - self._saved_s / self._share if self._saved_s < 0 else 0.0
        self._then, self._filled, self._copied = now, 0, 0


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


def _reference_bins(profile: ColumnProfile) -> list[tuple[str, int]]:
    """The name of each bin, with its reference rows, in the order of `RowCounter.bins`."""
    counts = profile.counts
    bins = [(f"{index:02}", rows) for index, rows in enumerate(counts.bins)]
    return [*bins, ("missing", counts.missing), ("unknown", counts.unknown)]


def _family(kind: str, name: str, text: str, series: Iterable[tuple[str, float | None]]) -> str:
    """The lines of a metric, from the labels of each series and its value; None leaves a place for it."""
    lines = [f"{name}{labels} {'%s' if value is None else value}\n" for labels, value in series]
    return "".join((f"# HELP {name} {text}\n# TYPE {name} {kind}\n", *lines)) if lines else ""


def _labelled(**labels: str) -> str:
    """Labels as the text format has them, for a template."""
    special = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "%": "%%"})
    pairs = ",".join(f'{name}="{text.translate(special)}"' for name, text in labels.items())
    return f"{{{pairs}}}"

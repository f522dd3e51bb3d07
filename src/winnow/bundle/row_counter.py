"""Counts rows in the bins of a reference profile: of training rows at the refit, of requests in a replica.

A server imports this module, so it needs numpy alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column, slices_of
from winnow.bundle.profile import ColumnCounts, ColumnProfile

Numbers = NDArray[np.float32]
OTHER = "(other)"
"""Label of the last bin of a category with more codes than bins: that of all codes without a bin of their own."""
MOST_LABELS = 50
ROW_STATISTICS = ("mean of the row", "deviation of the row", "smallest of the row", "largest of the row")
"""What stands for the columns of tensors and images: statistics of `sampled` values of each row."""
MOST_VALUES = 4096
FARTHEST = 1000.0
"""Distances from the centre are summed up to so many times the scale: otherwise one absurd value would use up the
digits of the sums, which later values need. Of n training rows none is farther than about sqrt(n)."""
_BYTES_AT_ONCE = 2**20
"""Rows of one step, for memory."""


@dataclass(frozen=True)
class Answering:
    """How a model's outputs become answers.

    Attributes:
        classes: None for regression.
        positive, threshold: as in `serving.signature.Signature`.
    """

    classes: tuple[str, ...] | None
    positive: int = 1
    threshold: float | None = None

    def values(self, outputs: Numbers) -> Numbers:
        """Outputs [rows, …] as the profile counts them: the predicted class's index and its probability, or as is."""
        if self.classes is None:
            return outputs
        predicted = self.predicted(outputs)
        return np.stack([predicted.astype(np.float32), outputs[np.arange(len(outputs)), predicted]], axis=1)

    def predicted(self, outputs: Numbers) -> NDArray[np.int64]:
        """The index of each row's predicted class."""
        if self.threshold is None:
            likeliest: NDArray[np.int64] = outputs.argmax(axis=1)
            return likeliest
        return np.where(outputs[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)


def sampled(flat: Numbers) -> Numbers:
    """Of rows of many values, [rows, values], every n-th value, so that they are `MOST_VALUES` at most."""
    return flat[:, :: -(-flat.shape[1] // MOST_VALUES)]


def row_statistics(matrix: Numbers) -> Numbers:
    """The `ROW_STATISTICS` of tensors [rows, …], float32 [rows, 4]; NaN where a row has no value."""
    flat = sampled(matrix.reshape(len(matrix), -1))
    is_missing = np.isnan(flat)
    present = np.maximum((~is_missing).sum(axis=1), 1)
    zeros = np.where(is_missing, np.float32(0), flat).astype(np.float64)
    mean = zeros.sum(axis=1) / present
    deviation = np.sqrt((np.where(is_missing, 0.0, flat - mean[:, None]) ** 2).sum(axis=1) / present)
    low = np.where(is_missing, np.inf, flat).min(axis=1, initial=np.inf)
    high = np.where(is_missing, -np.inf, flat).max(axis=1, initial=-np.inf)
    found = np.stack([mean, deviation, low, high], axis=1).astype(np.float32)
    found[is_missing.all(axis=1)] = np.nan
    return found


class RowCounter:
    """Adds up the values of several columns.

    Args:
        profiles: with their edges and labels; their counts are not used.
        categories: of each column the text of each code; empty for numbers.

    Attributes:
        rows: how many were counted.
        bins: rows of all bins, of each column first its own, then those with a missing and those with an unknown value.
        measured: indexes of the columns with edges.
        above, below, squares: of each of these what its values lie above the centre, below it, and the squares of both,
            summed up; each only grows.
    """

    def __init__(self, profiles: Sequence[ColumnProfile], categories: Sequence[Sequence[str]]) -> None:
        widths = [len(each.labels) or len(each.edges) + 1 for each in profiles]
        self._missing = np.array(widths, dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._missing + 2)]).astype(np.int64)
        self.measured = [index for index, each in enumerate(profiles) if each.edges]
        numbers = [profiles[index] for index in self.measured]
        most = max((len(each.edges) for each in numbers), default=0)
        self._edges = np.full((most, len(numbers)), np.inf, dtype=np.float32)
        for at, each in enumerate(numbers):
            self._edges[: len(each.edges), at] = each.edges
        self._centres = np.array([each.centre for each in numbers])
        self._farthest = FARTHEST * np.array([each.scale for each in numbers])
        pairs = enumerate(zip(profiles, categories, strict=True))
        self._bin_of = {index: _bins_of(each.labels, texts) for index, (each, texts) in pairs if each.labels}
        self.bins = np.zeros(int(self._starts[-1]), dtype=np.int64)
        self.above, self.below, self.squares = (np.zeros(len(numbers)) for _ in range(3))
        self.rows = 0

    def add(self, values: Numbers) -> None:
        """Count rows: float32 [rows, columns], a number or a code; NaN where a value is missing, -1 for no code."""
        slots = np.zeros(values.shape, dtype=np.int64)
        if self.measured:
            numbers = values[:, self.measured]
            slots[:, self.measured] = self._places(numbers)
            self._sum(numbers)
        is_missing = np.isnan(values)
        for at, bin_of in self._bin_of.items():
            codes = np.where(is_missing[:, at], -1, values[:, at]).astype(np.int64)
            is_known = (codes >= 0) & (codes < len(bin_of))
            slots[:, at] = np.where(is_known, bin_of[np.where(is_known, codes, 0)], self._missing[at] + 1)
        slots = np.where(is_missing, self._missing, slots) + self._starts[:-1]
        self.bins += np.bincount(slots.ravel(), minlength=len(self.bins))
        self.rows += len(values)

    def counts(self) -> list[ColumnCounts]:
        """What has been counted, by column."""
        sums = dict(zip(self.measured, np.stack([self.above - self.below, self.squares], 1).tolist(), strict=True))
        found = []
        for index, (start, end) in enumerate(itertools.pairwise(self._starts.tolist())):
            *bins, missing, unknown = self.bins[start:end].tolist()
            found.append(ColumnCounts(tuple(bins), missing, unknown, *sums.get(index, ())))
        return found

    def _places(self, numbers: Numbers) -> NDArray[np.int16]:
        """The bin of each number: a comparison with one edge after the other is three times as fast as a search."""
        places = np.zeros(numbers.shape, dtype=np.int16)
        for edges in self._edges:
            places += numbers > edges
        return places

    def _sum(self, numbers: Numbers) -> None:
        distance = np.nan_to_num(numbers.astype(np.float64) - self._centres, nan=0.0)
        distance = np.clip(distance, -self._farthest, self._farthest)
        self.above += np.maximum(distance, 0).sum(axis=0)
        self.below += np.maximum(-distance, 0).sum(axis=0)
        self.squares += np.square(distance).sum(axis=0)


class InputCounter(RowCounter):
    """Adds up the rows that a model takes, [rows, *input_shape].

    Args:
        columns: the codec of a table's columns; None for tensors, of which `ROW_STATISTICS` are counted.
    """

    def __init__(self, profiles: Sequence[ColumnProfile], columns: Sequence[Column] | None) -> None:
        self._first: NDArray[np.int64] | None = None
        categories: list[Sequence[str]] = [()] * len(profiles)
        if columns is not None:
            by_name = {each.name: (each, part.start) for each, part in zip(columns, slices_of(columns), strict=True)}
            found = [by_name[each.name] for each in profiles]
            self._first = np.array([start for _, start in found], dtype=np.int64)
            categories = [("false", "true") if column.kind == "boolean" else column.categories for column, _ in found]
        super().__init__(profiles, categories)

    def add(self, values: Numbers) -> None:
        """Count rows, float32 [rows, *input_shape]."""
        step = max(_BYTES_AT_ONCE // max(values[:1].nbytes, 1), 1)
        for start in range(0, len(values), step):
            rows = values[start : start + step]
            super().add(row_statistics(rows) if self._first is None else rows[:, self._first])


class OutputCounter(RowCounter):
    """Adds up a model's outputs, [rows, outputs]."""

    def __init__(self, profiles: Sequence[ColumnProfile], answering: Answering) -> None:
        self._answering = answering
        super().__init__(profiles, [answering.classes or () if each.labels else () for each in profiles])

    def add(self, values: Numbers) -> None:
        """Count outputs, float32 [rows, outputs]."""
        super().add(self._answering.values(values))


def _bins_of(labels: Sequence[str], categories: Sequence[str]) -> NDArray[np.int64]:
    """The bin of each code; the last one for codes without a bin of their own."""
    places = {label: index for index, label in enumerate(labels)}
    return np.array([places.get(text, len(labels) - 1) for text in categories] or [0], dtype=np.int64)

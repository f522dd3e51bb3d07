"""Rows that are fetched by their indexes, for data that does not fit in memory.

`DataSet.features` is either an array in memory or a `RowSource`. Both have a shape and are indexed alike; code that
needs a part of the rows works with both.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IN_MEMORY_BYTES = 2**28
"""Rows that can be fetched are read into memory up to this size as float32: 256 MiB."""
BLOCK_BYTES = 2**24
"""Rows that are read at once where all are read: 16 MiB as float32."""

Index = NDArray[np.int64] | slice
Load = Literal["auto", "memory", "lazy"]
"""`data.load`."""


class RowSource(ABC):
    """Rows in float32 that are fetched when they are asked for.

    Attributes:
        shape: [rows, *input_shape].
        may_be_threaded: whether another thread may fetch while the network trains.
    """

    shape: tuple[int, ...]
    may_be_threaded: bool = True

    @abstractmethod
    def fetch(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows in the order of their indexes, [indexes, *input_shape]; NaN where a value is missing."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> NDArray[np.float32]:
        return self.fetch(np.arange(*index.indices(len(self))) if isinstance(index, slice) else index)

    @property
    def fingerprint(self) -> str | None:
        """A digest that stands for the rows where reading all of them takes long."""
        return None

    @property
    def ndim(self) -> int:
        """Axes, the rows included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of all rows in float32."""
        return 4 * math.prod(self.shape)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """All rows in order, some megabytes at a time."""
        rows = rows_in(BLOCK_BYTES, self.shape)
        for start in range(0, len(self), rows):
            yield self[start : start + rows]


FeatureRows = NDArray[np.float32] | RowSource
"""Rows [rows, *input_shape]: an array in memory, or fetched ones."""


class ArrayRows(RowSource):
    """Rows of an array of numbers, such as a memory-mapped file; each is converted when it is fetched."""

    def __init__(self, array: NDArray[np.generic]) -> None:
        """Take an array [rows, …]; [rows] counts as [rows, 1]."""
        plain = np.asarray(array)
        self._array = plain[:, np.newaxis] if plain.ndim == 1 else plain
        self.shape = self._array.shape

    def fetch(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        # In ascending order a disk is read forward.
        order = np.argsort(index, kind="stable")
        rows = np.empty((len(index), *self.shape[1:]), dtype=np.float32)
        rows[order] = self._array[index[order]]
        return rows

    def __getitem__(self, index: Index) -> NDArray[np.float32]:
        return self._array[index].astype(np.float32) if isinstance(index, slice) else self.fetch(index)


class SelectedRows(RowSource):
    """Some of the rows of another source."""

    def __init__(self, source: RowSource, chosen: NDArray[np.int64]) -> None:
        """Take the indexes of the chosen rows."""
        self._source, self._chosen = source, chosen
        self.shape = (len(chosen), *source.shape[1:])

    def fetch(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._source.fetch(self._chosen[index])


def select(features: FeatureRows, chosen: NDArray[np.int64]) -> FeatureRows:
    """Some rows: a copy where they lie in memory, and otherwise a source that fetches no others."""
    return SelectedRows(features, chosen) if isinstance(features, RowSource) else features[chosen]


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Indexes of at most `most` rows from everywhere among `count`: neighbours in a sorted table may be equal."""
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64))


def rows_in(size_bytes: int, shape: tuple[int, ...]) -> int:
    """How many rows of a shape [rows, …] take that many bytes in float32; at least 1."""
    return max(1, size_bytes // (4 * max(1, math.prod(shape[1:]))))

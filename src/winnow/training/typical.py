"""Make example rows that resemble a data set and contain none of its rows.

Servers publish a bundle's example, and its reference rows are stored in images and artifact stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column, date_numbers, slices_of
from winnow.data.rows import FeatureRows, rows_in, spread

MOST_ROWS = 10_000
"""Rows from which typical values are taken: their medians are as good as those of all."""
MOST_BYTES = 2**24
FEWEST_MEASURED = 20
"""Whole numbers with fewer different values than this are taken for codes, of which the most frequent is typical."""


def typical_row(
    features: FeatureRows, rows: NDArray[np.int64], columns: Sequence[Column] | None = None
) -> NDArray[np.float32]:
    """The median of each value's present values, or the most frequent one where they are codes; NaN where all miss.

    Args:
        features: [rows, *shape], NaN where a value is missing.

    Returns:
        float32 of that shape; encoded for a table.
    """
    sample = features[rows[spread(len(rows), min(MOST_ROWS, rows_in(MOST_BYTES, features.shape)))]]
    if columns is not None:
        parts = zip(columns, slices_of(columns), strict=True)
        return np.concatenate([_typical_numbers(column, sample[:, part]) for column, part in parts])
    values = sample.reshape(len(sample), -1).T
    row = np.array([_typical(value[~np.isnan(value)]) for value in values], dtype=np.float32)
    return row.reshape(features.shape[1:])


def shuffled_rows(
    features: FeatureRows, rows: NDArray[np.int64], most: int, columns: Sequence[Column] | None = None
) -> NDArray[np.float32]:
    """At most `most` rows that take each value from another one of the given rows, the same for the same data.

    Each value is one of its column's, so a model meets what it was trained for, and no row is one of the data's.
    """
    random, sample = np.random.default_rng(0), features[rows[spread(len(rows), most)]]
    if columns is None or len(columns) == sample.shape[1]:
        return random.permuted(sample, axis=0)
    return np.concatenate([random.permutation(sample[:, part]) for part in slices_of(columns)], axis=1)


def _typical_numbers(column: Column, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of one column, [width]: the most frequent category, the middle date, or as for tensors."""
    present = numbers[~np.isnan(numbers[:, 0])]
    if not len(present):
        return np.full(column.width, np.nan, dtype=np.float32)
    if column.kind == "date":
        days, _, _, second = np.median(present, axis=0)
        seconds = 0 if column.dtype == "date" else round(float(second))
        moment = datetime(1970, 1, 1) + timedelta(days=int(days), seconds=seconds)
        return np.array(date_numbers(moment), dtype=np.float32)
    if column.kind == "number":
        return np.array([_typical(present[:, 0])], dtype=np.float32)
    values, counts = np.unique(present[:, 0], return_counts=True)
    return np.array([values[counts.argmax()]], dtype=np.float32)


def _typical(present: NDArray[np.float32]) -> float:
    if not len(present):
        return np.nan
    is_whole = bool((present == np.round(present)).all())
    if is_whole:
        values, counts = np.unique(present, return_counts=True)
        if len(values) < FEWEST_MEASURED:
            return float(values[counts.argmax()])
    median = float(np.median(present))
    return round(median) if is_whole else median

"""Make example rows that resemble a data set and contain none of its rows.

Servers publish a bundle's example, and its reference rows are stored in images and artifact stores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from winnow.training.independence import spread

MOST_ROWS = 10_000
"""Rows from which typical values are taken: their medians are as good as those of all."""
FEWEST_MEASURED = 20
"""Whole numbers with fewer different values than this are taken for codes, of which the most frequent is typical."""


def typical_row(features: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The median of each value's present values, or the most frequent one where they are codes; NaN where all miss.

    Args:
        features: [rows, *input_shape], NaN where a value is missing.
        rows: indexes of those that count.

    Returns:
        float32 of `input_shape`.
    """
    sample = features[rows[spread(len(rows), MOST_ROWS)]]
    columns = sample.reshape(len(sample), -1).T
    row = np.array([_typical(column[~np.isnan(column)]) for column in columns], dtype=np.float32)
    return row.reshape(features.shape[1:])


def shuffled_rows(features: NDArray[np.float32], rows: NDArray[np.int64], most: int) -> NDArray[np.float32]:
    """At most `most` rows that take each value from another one of the given rows, the same for the same data.

    Each value is one of its column's, so a model meets what it was trained for, and no row is one of the data's.
    """
    return np.random.default_rng(0).permuted(features[rows[spread(len(rows), most)]], axis=0)


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

"""What float32 merges: a loss that matters, or the rounding of a measurement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from winnow.data.refusals import merged_values

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        (1764200000000 + 1000 * np.arange(60), (60, 1)),
        (1764200000000.0 + 1000 * np.arange(60), (60, 1)),
        (2**24 + np.arange(1000), (1000, 501)),
        (2**60 + np.arange(60), (60, 1)),
        (np.array([np.nan, 1e9, 1e9 + 1]), (2, 1)),
        (2024.5 + 0.0001 * np.arange(10), (10, 8)),
        (np.array([2**70, 2**70 + 1], dtype=object), (2, 1)),
    ],
)
def test_values_that_lie_too_close_together_for_their_size_are_counted(values: Any, counts: tuple[int, int]) -> None:
    assert merged_values(values) == counts


@pytest.mark.parametrize(
    "values",
    [
        RANDOM.random(100_000),
        300 + RANDOM.normal(size=10_000),
        RANDOM.integers(10**6, 10**9, size=10_000),
        np.arange(2**24 - 1000, 2**24),
        np.full(10, 1e12),
        np.array([2**31, 2**32]),
        np.array([np.nan, np.nan]),
        np.array([], dtype=np.float64),
        np.array([1e9, 1e9 + 1], dtype=np.float32),
        np.array([True, False]),
    ],
)
def test_the_rounding_of_a_measurement_is_no_loss(values: Any) -> None:
    assert merged_values(values) is None

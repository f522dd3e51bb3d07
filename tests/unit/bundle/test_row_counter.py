"""Counting rows in the bins of a profile."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.bundle.columns import Column
from winnow.bundle.profile import ColumnCounts, ColumnProfile
from winnow.bundle.row_counter import OTHER, Answering, InputCounter, OutputCounter, row_statistics

NOTHING = ColumnCounts(())
COLUMNS = (
    Column("age"),
    Column("since", "date", "date"),
    Column("sex", "category", "string", ("f", "m")),
    Column("smokes", "boolean", "boolean"),
)
PROFILES = (
    ColumnProfile("sex", "category", NOTHING, labels=("f", "m")),
    ColumnProfile("age", "number", NOTHING, edges=(20.0, 40.0), centre=30.0),
    ColumnProfile("smokes", "boolean", NOTHING, labels=("false", "true")),
    ColumnProfile("since", "date", NOTHING, edges=(100.0,), centre=100.0),
)
NAN = np.nan
#        age      since           sex  smokes
ROWS = np.array(
    [
        [20.0, 100, 1, 0, 0, 0, 1],
        [20.5, 101, 1, 0, 0, 1, 0],
        [41.0, 90, 1, 0, 0, -1, NAN],
        [NAN, NAN, NAN, NAN, NAN, NAN, 1],
    ],
    dtype=np.float32,
)


@pytest.mark.parametrize("at_once", [1, 4])
def test_rows_of_a_table_fall_into_the_bins_of_each_column(at_once: int) -> None:
    counter = InputCounter(PROFILES, COLUMNS)
    for start in range(0, len(ROWS), at_once):
        counter.add(ROWS[start : start + at_once])
    assert counter.rows == 4
    assert counter.counts() == [
        ColumnCounts((1, 1), missing=1, unknown=1),
        ColumnCounts((1, 1, 1), missing=1, total=-8.5, square_total=100 + 9.5**2 + 121),
        ColumnCounts((1, 2), missing=1),
        ColumnCounts((2, 1), missing=1, total=-9, square_total=101),
    ]
    assert (counter.above.tolist(), counter.below.tolist()) == ([11, 1], [19.5, 10])


def test_an_absurd_value_does_not_use_up_the_digits_of_the_sums() -> None:
    counter = InputCounter(
        [ColumnProfile("age", "number", NOTHING, edges=(20.0,), centre=30, scale=2)], [Column("age")]
    )
    counter.add(np.array([[3e38], [-3e38], [31]], dtype=np.float32))
    assert counter.counts() == [ColumnCounts((1, 2), total=1, square_total=2 * 2000.0**2 + 1)]


def test_a_column_without_edges_has_no_sums() -> None:
    counter = InputCounter([ColumnProfile("rare", "number", NOTHING)], [Column("rare")])
    counter.add(np.array([[7], [NAN]], dtype=np.float32))
    assert counter.counts() == [ColumnCounts((1,), missing=1)]


def test_codes_without_a_bin_of_their_own_share_the_last_one() -> None:
    column = Column("town", "category", "string", ("a", "b", "c", "d"))
    counter = InputCounter([ColumnProfile("town", "category", NOTHING, labels=("a", "c", OTHER))], [column])
    counter.add(np.array([[0], [1], [2], [3], [3], [-1]], dtype=np.float32))
    assert counter.counts()[0] == ColumnCounts((1, 1, 3), unknown=1)


def test_outputs_count_as_the_class_that_is_answered_and_its_probability() -> None:
    outputs = np.array([[0.7, 0.3], [0.55, 0.45], [0.2, 0.8]], dtype=np.float32)
    profiles = (
        ColumnProfile("prediction", "category", NOTHING, labels=("no", "yes")),
        ColumnProfile("confidence", "number", NOTHING, edges=(0.5,), centre=0.5),
    )
    likeliest, from_04 = (OutputCounter(profiles, Answering(("no", "yes"), 1, threshold)) for threshold in (None, 0.4))
    likeliest.add(outputs)
    from_04.add(outputs)
    assert [each.bins for each in likeliest.counts()] == [(2, 1), (0, 3)]
    assert [each.bins for each in from_04.counts()] == [(1, 2), (1, 2)]


def test_tensors_are_counted_by_statistics_of_their_rows() -> None:
    rows = np.array([[[1, 3], [5, NAN]], [[NAN, NAN], [NAN, NAN]]], dtype=np.float32)
    np.testing.assert_allclose(row_statistics(rows), [[3, np.std([1, 3, 5]), 1, 5], [NAN] * 4], rtol=1e-6)

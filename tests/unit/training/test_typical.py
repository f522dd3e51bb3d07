"""What stands for a data set is none of its rows."""

import numpy as np

from winnow.training.typical import shuffled_rows, typical_row


def test_a_typical_row_has_medians_and_the_most_frequent_codes():
    measured = np.linspace(0.25, 9.25, 25)
    years = np.arange(1950, 1975)
    codes = np.array([3] * 9 + [1] * 8 + [7] * 8)
    gaps = np.where(np.arange(25) < 20, np.nan, 2.5)
    columns = [measured, years, codes, gaps, np.full(25, np.nan)]
    features = np.stack(columns, axis=1).astype(np.float32)
    np.testing.assert_array_equal(typical_row(features, np.arange(25)), [4.75, 1962, 3, 2.5, np.nan])


def test_a_typical_row_counts_the_given_rows_alone():
    features = np.array([[0.5], [1.5], [2.5], [1000.5]], dtype=np.float32)
    assert typical_row(features, np.array([0, 1, 2])).tolist() == [1.5]


def test_a_typical_tensor_has_the_median_of_each_element():
    features = np.random.default_rng(1).normal(size=(31, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(typical_row(features, np.arange(31)), np.median(features, axis=0))


def test_shuffled_rows_have_the_columns_values_and_no_row_of_the_data():
    features = np.random.default_rng(1).normal(size=(300, 2, 2)).astype(np.float32)
    rows = np.arange(100, 300)
    found = shuffled_rows(features, rows, 256)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(features[rows], axis=0))
    assert not (found[:, None] == features[None]).all(axis=(2, 3)).any()
    np.testing.assert_array_equal(found, shuffled_rows(features, rows, 256))
    assert shuffled_rows(features, rows, 16).shape == (16, 2, 2)

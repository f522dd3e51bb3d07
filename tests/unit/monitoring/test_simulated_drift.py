"""Months without drift and windows with it, drawn from real data; benchmarks/drift.py has many more of them."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.drift import (
    SETS,
    false_alarms,
    is_found,
    label_shift,
    new_category,
    nulls,
    other_unit,
    shifted,
)

ROWS = 1000
DRIFTS = (shifted, other_unit, new_category, nulls, label_shift)
# A fifth of 442 patients do not show that the larger half of a noisy number is more frequent by 20 points.
FOUND = [(name, each) for name in ("breast_cancer", "digits") for each in DRIFTS]
FOUND += [("diabetes", each) for each in DRIFTS if each is not label_shift]


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "diabetes"])
def test_months_without_drift_have_no_more_false_alarms_than_allowed(name):
    source, random = SETS[name](), np.random.default_rng(3)
    begun = [false_alarms(source, random)[1] for _ in range(5)]
    assert np.mean(begun) <= 1


@pytest.mark.parametrize(("name", "drift"), FOUND)
def test_drift_is_found_within_a_thousand_requests(name, drift):
    source, random = SETS[name](), np.random.default_rng(4)
    assert [is_found(source, drift, ROWS, random) for _ in range(2)] == [True] * 2

"""Where values lie on the axes of the parallel coordinates."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.report.axes import metric_axis, parameter_axis


def test_a_log_axis_is_even_in_powers_of_ten() -> None:
    axis = parameter_axis("lr", {"float": [1e-4, 1e-1], "log": True})
    assert [text for _, text in axis.ticks] == ["0.0001", "0.001", "0.01", "0.1"]
    assert [axis.position(value) for value in (1e-4, 1e-3, 1e-1)] == pytest.approx([0, 1 / 3, 1])
    assert axis.position(0) is None


def test_a_narrow_log_axis_has_ticks_within_the_decade() -> None:
    axis = parameter_axis("batch_size", {"int": [16, 256], "log": True})
    assert [text for _, text in axis.ticks] == ["16", "20", "50", "100", "200", "256"]


def test_an_integer_axis_has_whole_ticks() -> None:
    assert [text for _, text in parameter_axis("layers", {"int": [1, 3]}).ticks] == ["1", "2", "3"]


def test_choices_are_text_and_evenly_spread() -> None:
    axis = parameter_axis("hidden", {"choice": [[64], [128, 64], "none", None]})
    assert axis.ticks == ((0.125, "[64]"), (0.375, "[128, 64]"), (0.625, "none"), (0.875, "null"))
    assert axis.position([128, 64]) == axis.position("[128, 64]") == 0.375
    assert axis.position([1]) is None


def test_better_is_up_on_the_metrics_axis() -> None:
    assert metric_axis("rmse", 40.0, 60.0, maximize=False).position(40.0) == 1.0
    assert metric_axis("f1", 0.4, 0.6, maximize=True).position(0.6) == 1.0
    assert metric_axis("f1", 0.4, 0.6, maximize=True).position(math.nan) is None


def test_an_axis_of_one_value_lies_in_the_middle() -> None:
    axis = parameter_axis("dropout", {"float": [0.5, 0.5]})
    assert (axis.ticks, axis.position(0.5)) == (((0.5, "0.5"),), 0.5)


bounds = st.floats(min_value=1e-9, max_value=1e9)


@given(bounds, bounds, st.booleans())
def test_ticks_rise_from_the_bottom_to_the_top_and_do_not_crowd(one: float, other: float, log: bool) -> None:
    low, high = min(one, other), max(one, other)
    places = [place for place, _ in parameter_axis("p", {"float": [low, high], "log": log}).ticks]
    if low == high:
        assert places == [0.5]
        return
    assert (places[0], places[-1]) == (0.0, 1.0)
    assert all(b - a >= 0.069 for a, b in pairwise(places)) or len(places) == 2
    assert len(places) <= 16

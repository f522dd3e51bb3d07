"""What a network gets of encoded columns, and that nothing of it is learned from rows outside the training part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from winnow.bundle.columns import Column
from winnow.data.features import convert_features
from winnow.data.inputs import Category, InputPlan, Scaling, plan_inputs
from winnow.data.preprocessing import fit_preprocessing, fit_scaling

NUMBERS = (Column("age", dtype="long"), Column("active", "boolean", "boolean"))


def encoded(frame: pd.DataFrame) -> tuple[NDArray[np.float32], InputPlan]:
    found = convert_features(frame, None, "rows.csv")
    assert found.columns is not None
    plan = plan_inputs(found.columns, found.values, "auto")
    assert plan is not None
    return found.values, plan


def prepared(frame: pd.DataFrame, train: Any = slice(None), scaling: Scaling = "standard") -> NDArray[np.float32]:
    """All rows as the network gets them, fitted to some."""
    features, plan = encoded(frame)
    module = fit_preprocessing(features[train], plan, scaling)
    found: NDArray[np.float32] = module(torch.from_numpy(features)).numpy()
    assert found.shape == (len(frame), plan.prepared)
    return found


def test_a_table_of_numbers_needs_no_plan() -> None:
    features = np.array([[30, 1], [41, np.nan], [27, 0]], np.float32)
    assert plan_inputs(NUMBERS, features, "auto") is None
    assert plan_inputs(NUMBERS, features, indicators=False) is None
    assert plan_inputs(NUMBERS, features[:1], indicators=True) is None
    assert plan_inputs(NUMBERS, features, indicators=True) == InputPlan((0, 1), (1,), (), (), ())


def test_a_plan_depends_on_what_is_missing_and_what_varies_in_the_whole_table() -> None:
    many = [f"city {row % 20}" for row in range(60)]
    frame = pd.DataFrame(
        {
            "age": [None, *range(30, 45)] * 3 + [None] * 12,
            "day": pd.date_range("2026-01-05", periods=60, freq="7D").strftime("%Y-%m-%d"),
            "plan": ["basic", "pro", None] * 20,
            "city": many,
        }
    )
    _, plan = encoded(frame)
    assert plan == InputPlan(
        scaled=(0, 1),
        indicated=(0,),
        cycles=((2, 365.25),),
        one_hot=(Category(5, 2, has_missing=True),),
        embedded=(Category(6, 20, has_missing=False),),
    )
    assert (plan.dense, plan.prepared, plan.width) == (2 + 1 + 2 + 4, 10, 9 + 9)


def test_few_categories_are_one_hot_and_a_missing_one_has_its_own_code() -> None:
    plans = ["basic"] * 6 + ["pro"] * 3 + [None] * 1
    found = prepared(pd.DataFrame({"plan": plans}), scaling="none")
    assert found[[0, 6, 9]].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    centered = prepared(pd.DataFrame({"plan": plans}))
    np.testing.assert_allclose(centered, found - found.mean(0), atol=1e-6)


def test_rare_and_unknown_categories_share_a_code() -> None:
    plans = ["basic"] * 300 + ["pro"] * 200 + ["team"] * 2
    features, plan = encoded(pd.DataFrame({"plan": plans}))
    module = fit_preprocessing(features, plan, "none")
    codes = torch.tensor([[0.0], [1.0], [2.0], [-1.0]])
    assert module(codes).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]


def test_a_category_without_training_rows_gets_the_mean_of_those() -> None:
    features, plan = encoded(pd.DataFrame({"plan": ["basic"] * 3 + ["pro"] * 1 + ["team", None]}))
    codes = torch.tensor([[2.0], [-1.0], [torch.nan]])
    module = fit_preprocessing(features[:4], plan, "none")
    assert module(codes).tolist() == [[0, 0.75, 0.25, 0, 0]] * 3
    module = fit_preprocessing(features[:4], plan, "standard")
    assert module(codes).tolist() == [[0, 0, 0, 0, 0]] * 3


def test_many_categories_become_codes_for_an_embedding() -> None:
    cities = [f"c{row:02}" for row in range(20)] * 30 + ["c99"] * 2 + [None] * 3
    features, plan = encoded(pd.DataFrame({"city": cities}))
    module = fit_preprocessing(features, plan, "standard")
    codes = torch.tensor([[0.0], [19.0], [20.0], [-1.0], [torch.nan]])
    assert module(codes).flatten().tolist() == [1, 20, 0, 0, 22]
    assert plan.embedded[0].codes == 23
    without_missing = fit_preprocessing(features[:600], plan, "standard")
    assert without_missing(codes).flatten().tolist() == [1, 20, 0, 0, 0]


def test_a_date_is_a_number_and_the_cycles_that_vary() -> None:
    moments = pd.to_datetime(["2026-01-05T06:00", "2026-01-06T12:00", None, "2026-01-07T18:00"], format="ISO8601")
    found = prepared(pd.DataFrame({"seen": moments}))
    days = np.array([-1, 0, 0, 1]) / np.std([-1, 0, 1])
    angles = 2 * np.pi * np.array([[5, 6, 7], [0, 1, 2], [0.25, 0.5, 0.75]]).T / [365.25, 7, 1]
    waves = np.insert(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), 2, 0, axis=0)
    expected = np.concatenate([days[:, None], [[0], [0], [1], [0]], waves], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_robust_scaling_uses_median_and_quartiles_and_the_deviation_where_those_are_equal() -> None:
    random = np.random.default_rng(0)
    values = np.stack([random.standard_normal(101), np.arange(101) == 7], axis=1).astype(np.float32)
    values[3, 0], values[5, 0] = np.nan, 1e6
    found = fit_scaling(values, "robust")(torch.from_numpy(values)).numpy()
    present = values[~np.isnan(values[:, 0]), 0]
    low, middle, high = np.quantile(present, [0.25, 0.5, 0.75])
    expected = np.nan_to_num((values[:, 0] - middle) / (high - low), nan=0)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], values[:, 1] / values[:, 1].std(), rtol=1e-5)


MIXED = pd.DataFrame(
    {
        "age": np.tile([20.5, 30, 40, 50, 60, np.nan], 20),
        "plan": np.tile(["basic", "pro", "team"], 40),
        "city": np.tile([f"city {code}" for code in range(20)], 6),
        "since": np.tile(pd.date_range("2025-01-01", periods=60, freq="13h").astype(str), 2),
        "active": np.tile([True, False], 60),
    }
)
TRAIN, VALIDATION = np.arange(80), np.arange(80, 120)


def states(frame: pd.DataFrame, train: NDArray[np.int64], scaling: Scaling) -> dict[str, list[float]]:
    features, plan = encoded(frame)
    state = fit_preprocessing(features[train], plan, scaling).state_dict()
    return {name: values.flatten().tolist() for name, values in state.items()}


def with_other_validation_rows(seed: int) -> pd.DataFrame:
    """The same training rows; values of the validation rows drawn anew."""
    random, frame = np.random.default_rng(seed), MIXED.copy()
    for name in frame.columns:
        values = frame[name].to_numpy(copy=True)
        values[VALIDATION] = values[random.choice(TRAIN[:30], len(VALIDATION))]
        frame[name] = values
    return frame


@pytest.mark.parametrize("scaling", ["standard", "robust", "none"])
def test_nothing_is_fitted_on_validation_rows(scaling: Scaling) -> None:
    other = with_other_validation_rows(1)
    assert states(other, TRAIN, scaling) == states(MIXED, TRAIN, scaling)
    # The same comparison finds a fit that saw them.
    everything = np.arange(len(MIXED))
    leaking, clean = states(other, everything, scaling), states(MIXED, everything, scaling)
    differing = {name.split(".")[0] for name in clean if leaking[name] != clean[name]}
    assert {"scale", "one_hot_0"} <= differing

"""Conditional parameters: which are active, and which conditions are refused."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.config.conditions import active_values, are_exclusive, faults_in_conditions, in_order
from winnow.config.experiment import SearchConfig

OPTIMIZER = {"choice": ["sgd", "adamw"]}


def space_of(**space: Any) -> Any:
    return SearchConfig.model_validate({"space": space, "metric": {"name": "f1"}}).space


CHAIN = space_of(
    warmup={"int": [1, 9], "when": {"momentum_kind": "nesterov"}},
    momentum_kind={"choice": ["plain", "nesterov"], "when": {"optimizer": "sgd"}},
    optimizer=OPTIMIZER,
)


def test_a_parameter_comes_after_those_that_its_condition_names() -> None:
    assert in_order(CHAIN) == ("optimizer", "momentum_kind", "warmup")


@pytest.mark.parametrize(
    ("values", "active"),
    [
        ({"optimizer": "sgd", "momentum_kind": "nesterov", "warmup": 3}, {"optimizer", "momentum_kind", "warmup"}),
        ({"optimizer": "sgd", "momentum_kind": "plain", "warmup": 3}, {"optimizer", "momentum_kind"}),
        ({"optimizer": "adamw", "momentum_kind": "nesterov", "warmup": 3}, {"optimizer"}),
    ],
)
def test_a_parameter_of_an_inactive_one_is_inactive(values: dict[str, Any], active: set[str]) -> None:
    assert active_values(CHAIN, values).keys() == active


def test_a_list_means_one_of_its_values_and_true_is_not_one() -> None:
    space = space_of(
        n={"choice": [1, 2, 3]}, flag={"choice": [True, False]}, x={"int": [0, 1], "when": {"n": [1, 3], "flag": True}}
    )
    shown = [active_values(space, {"n": n, "flag": flag, "x": 0}).keys() for n, flag in ((3, True), (2, True), (1, 1))]
    assert [("x" in keys) for keys in shown] == [True, False, False]


def test_conditions_with_different_values_of_one_parameter_exclude_each_other() -> None:
    assert are_exclusive({"optimizer": ("sgd",)}, {"optimizer": ("adamw", "adam")})
    assert not are_exclusive({"optimizer": ("sgd", "adam")}, {"optimizer": ("adam",)})
    assert not are_exclusive({"optimizer": ("sgd",)}, {})


@pytest.mark.parametrize(
    ("space", "place", "text"),
    [
        (
            {"optimizer": OPTIMIZER, "m": {"float": [0, 1], "when": {"optimiser": "sgd"}}},
            "search.space.m.when.optimiser",
            "Did you mean 'optimizer'?",
        ),
        (
            {"optimizer": OPTIMIZER, "m": {"float": [0, 1], "when": {"optimizer": "sgdd"}}},
            "search.space.m.when.optimizer",
            "Did you mean 'sgd'?",
        ),
        (
            {"n": {"int": [0, 8], "step": 2}, "m": {"int": [0, 1], "when": {"n": 3}}},
            "search.space.m.when.n",
            "in steps",
        ),
        ({"x": {"float": [0, 1]}, "m": {"int": [0, 1], "when": {"x": 0.5}}}, "search.space.m.when.x", "without a step"),
        (
            {"hidden": {"choice": [[64], [32, 16]]}, "m": {"int": [0, 1], "when": {"hidden": [32, 16]}}},
            "search.space.m.when.hidden",
            "write [[32, 16]]",
        ),
        (
            {"a": {"int": [0, 1], "when": {"b": 0}}, "b": {"int": [0, 1], "when": {"a": 0}}},
            "search.space.a.when",
            "a → b → a",
        ),
        ({"a": {"int": [0, 1], "when": {"a": 0}}}, "search.space.a.when", "a → a"),
        ({"n": {"int": [0, 8]}, "m": {"int": [0, 1], "when": {"n": []}}}, "search.space.m.when.n", "an empty list"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(space: dict[str, Any], place: str, text: str) -> None:
    faults = list(faults_in_conditions(space_of(**space)))
    assert faults[0].place == place
    assert text in str(faults[0])

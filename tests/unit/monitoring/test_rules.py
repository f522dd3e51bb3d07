"""Limits of `monitoring.rules` on live counts."""

from __future__ import annotations

import pytest

from tests.unit.monitoring.watched import AGE, PROFILE, counted, times
from winnow.bundle.profile import ColumnCounts
from winnow.config.errors import InputError
from winnow.config.monitoring import RuleConfig
from winnow.finding import Finding, Result
from winnow.monitoring.rules import check_rules, evaluate, latency_quantile_s


def rule(**keys: object) -> RuleConfig:
    return RuleConfig.model_validate({"name": "Rule", **keys})


NORTH = ColumnCounts((30, 20), missing=25, unknown=25)
SHIFTED = ColumnCounts((0, 0, 0, 100), total=150.0, square_total=500.0)


@pytest.mark.parametrize(
    ("keys", "live", "estimate", "reason"),
    [
        (
            {"metric": "error_rate", "above": "5 %"},
            counted(requests=200, errors=20),
            0.1,
            "The share of failed requests is 10 %, above 5 %.",
        ),
        (
            {"metric": "request_rate", "below": "10 /s"},
            counted(requests=120),
            2.0,
            "The rate of requests is 2, below 10 /s.",
        ),
        (
            {"metric": "latency", "quantile": 0.5, "above": "30 ms"},
            counted(latency=times(ms25=10, ms50=20)),
            0.03125,
            "The 50 % quantile of the answer times is 31.2 ms, above 30 ms.",
        ),
        (
            {"metric": "missing", "column": "region", "above": "10 %"},
            counted(region=NORTH),
            0.25,
            "The share of rows without region is 25 %, above 10 %.",
        ),
        (
            {"metric": "unknown", "column": "region", "above": "10 %"},
            counted(region=NORTH),
            0.25,
            "The share of rows with an unknown region is 25 %, above 10 %.",
        ),
        (
            {"metric": "mean", "column": "age", "above": "0.5 sd"},
            counted(age=SHIFTED),
            0.75,
            "The distance of age's mean from the training rows is 0.75, above 0.5 sd.",
        ),
        (
            {"metric": "prediction_share", "of_class": "malignant", "above": "40 %"},
            counted(classes=ColumnCounts((50, 50))),
            0.5,
            "The share of predictions of malignant is 50 %, above 40 %.",
        ),
        (
            {"metric": "live_replicas", "below": "3 replicas"},
            counted(),
            2.0,
            "The number of replicas that answer is 2, below 3 replicas.",
        ),
    ],
)
def test_a_rule_fails_beyond_its_limit(keys: dict[str, object], live: object, estimate: float, reason: str) -> None:
    found = evaluate(rule(**keys), PROFILE, live)  # type: ignore[arg-type]
    assert found.estimate == pytest.approx(estimate)
    assert (found.result, found.reason) == (Result.FAIL, reason)


def test_a_rule_passes_at_its_limit() -> None:
    found = evaluate(rule(metric="error_rate", above="5 %"), PROFILE, counted(requests=100, errors=5))
    said = "The share of failed requests is 5 %, not above 5 %."
    text = "The share of failed requests above 5 %"
    assert found == Finding("Rule", 0.05, (None, None), 100, 0.05, text, Result.PASS, said)


def test_psi_is_zero_for_equal_shares_and_finite_for_empty_bins() -> None:
    psi = rule(metric="psi", column="age", above="0.2 psi")
    assert evaluate(psi, PROFILE, counted(age=ColumnCounts((50, 50, 50, 50)))).estimate == pytest.approx(0.0)
    # 3 * (0.0001 - 0.25) * ln(0.0001 / 0.25) + (1 - 0.25) * ln(1 / 0.25)
    assert evaluate(psi, PROFILE, counted(age=SHIFTED)).estimate == pytest.approx(6.9054, abs=1e-4)


@pytest.mark.parametrize(
    "keys",
    [
        {"metric": "error_rate", "above": "5 %"},
        {"metric": "latency", "above": "5 s"},
        {"metric": "mean", "column": "age", "above": "1 sd"},
        {"metric": "prediction_share", "of_class": "benign", "below": "5 %"},
    ],
)
def test_without_requests_nothing_is_known(keys: dict[str, object]) -> None:
    none = ColumnCounts((0, 0, 0, 0))
    live = counted(age=none, classes=ColumnCounts((0, 0)), requests=0, errors=0, latency=times())
    found = evaluate(rule(**keys), PROFILE, live)
    assert (found.result, found.n) == (Result.NOT_ENOUGH_DATA, 0)


def test_slower_answers_than_the_last_bound_count_as_that_bound() -> None:
    assert latency_quantile_s(times(slower=5), 0.95) == 10.0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"metric": "psi", "column": "aeg", "above": "0.2 psi"},
            "cells.yaml: monitoring.rules.Rule.column: expected a column or output of the model: age, region, "
            "prediction, confidence, found 'aeg'. Did you mean 'age'?",
        ),
        (
            {"metric": "mean", "column": "region", "above": "1 sd"},
            "cells.yaml: monitoring.rules.Rule.column: expected a column of numbers, found 'region', of kind category. "
            "Use `psi` or `missing`, which every column has.",
        ),
        (
            {"metric": "unknown", "column": "age", "above": "1 %"},
            "cells.yaml: monitoring.rules.Rule.column: expected a column of categories, found 'age', of kind number. "
            "Use `psi` or `missing`, which every column has.",
        ),
        (
            {"metric": "prediction_share", "of_class": "malign", "above": "1 %"},
            "cells.yaml: monitoring.rules.Rule.of_class: expected one of the model's classes: benign, malignant, "
            "found 'malign'. Did you mean 'malignant'?",
        ),
    ],
)
def test_a_rule_on_what_the_model_does_not_have_is_one_error(keys: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as refused:
        check_rules([rule(**keys)], PROFILE, "cells.yaml")
    assert str(refused.value) == message


def test_rules_on_columns_and_outputs_of_the_model_are_taken() -> None:
    check_rules([rule(metric="mean", column=AGE.name, above="1 sd")], PROFILE, "cells.yaml")
    check_rules([rule(metric="psi", column="confidence", above="0.2 psi")], PROFILE, "cells.yaml")

"""How often gates pass versions that do not meet the demand, and versions that do: simulations with fixed seeds.

`test_fixed_sample` has those of McNemar's test, of the folds and of latencies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy import stats

from tests.unit.model_query.versions import classifier, manifest, pair
from winnow.finding import Result
from winnow.model_query.evidence import Answers, Evidence
from winnow.model_query.gate_verdicts import judge
from winnow.model_query.gates import Gate

GATE: TypeAdapter[Gate] = TypeAdapter(Gate)
WORLDS = 200


def share_that_passes(gate: dict[str, Any], world: Callable[[int], Evidence], worlds: int = WORLDS) -> float:
    given = GATE.validate_python(gate)
    return float(np.mean([judge([given], world(seed), "")[0].result is Result.PASS for seed in range(worlds)]))


def most_by_chance(worlds: int = WORLDS) -> float:
    """The share of worlds that a gate which is wrong in 1 of 20 exceeds with probability 0.01."""
    return float(stats.binom.ppf(0.99, worlds, 0.05)) / worlds


@pytest.mark.parametrize("metric", ["accuracy", "f1", "balanced_accuracy", "mcc"])
def test_a_metric_at_its_limit_passes_seldom_and_a_better_one_mostly(metric: str) -> None:
    limit = 0.8 if metric == "mcc" else 0.9  # at an accuracy of 0.9, with classes of one size
    gate = {"type": "metric", "metric": metric, "min": limit}
    assert share_that_passes(gate, lambda seed: pair(400, 0.9, 0.0, 0.0, seed)) <= most_by_chance()
    assert share_that_passes(gate, lambda seed: pair(400, 0.95, 0.0, 0.0, seed)) > 0.9


@pytest.mark.parametrize("rows", [40, 150])
def test_few_errors_in_few_rows_do_not_pass_by_luck(rows: int) -> None:
    gate = {"type": "metric", "metric": "f1", "min": 0.98}
    assert share_that_passes(gate, lambda seed: pair(rows, 0.98, 0.0, 0.0, seed)) <= most_by_chance()


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_an_equal_version_seldom_beats_the_champion(metric: str) -> None:
    gate = {"type": "champion", "metric": metric}
    assert share_that_passes(gate, lambda seed: pair(1000, 0.85, 0.05, 0.05, seed)) <= most_by_chance()


def test_a_version_that_is_better_by_just_the_margin_seldom_passes() -> None:
    gate = {"type": "champion", "metric": "accuracy", "margin": 0.02, "scale": "absolute"}
    assert share_that_passes(gate, lambda seed: pair(1000, 0.85, 0.06, 0.04, seed)) <= most_by_chance()


@pytest.mark.parametrize(("rows", "differing"), [(3100, 0.05), (6200, 0.10), (12_400, 0.20)])
def test_one_point_takes_so_many_rows_for_four_of_five_to_pass(rows: int, differing: float) -> None:
    gain, loss = (differing + 0.01) / 2, (differing - 0.01) / 2
    gate = {"type": "champion", "metric": "accuracy"}
    assert 0.72 < share_that_passes(gate, lambda seed: pair(rows, 0.7, gain, loss, seed)) < 0.9


def regressors(rows: int, own: float, other: float, seed: int) -> Evidence:
    random = np.random.default_rng(seed)
    target = random.normal(size=(rows, 1))
    candidate, champion = (
        Answers(version, manifest(None), (target + spread * random.normal(size=(rows, 1))).astype(np.float32))
        for version, spread in (("2", own), ("1", other))
    )
    return Evidence("rows.parquet", np.empty((rows, 0)), target, candidate, champion, np.ones(rows, dtype=bool))


def test_errors_of_values_are_judged_as_often_right() -> None:
    limit, better = {"type": "metric", "metric": "rmse", "max": 0.5}, {"type": "champion", "metric": "mae"}
    equal = [share_that_passes(gate, lambda seed: regressors(100, 0.5, 0.5, seed), 60) for gate in (limit, better)]
    assert max(equal) <= most_by_chance(60)
    found = [share_that_passes(gate, lambda seed: regressors(100, 0.3, 0.5, seed), 20) for gate in (limit, better)]
    assert min(found) > 0.9


def test_groups_that_differ_by_just_the_limit_seldom_pass_and_equal_ones_mostly() -> None:
    def groups(seed: int, gap: float) -> Evidence:
        random = np.random.default_rng(seed)
        target, is_female = random.integers(2, size=1200), random.random(1200) < 0.4
        rows = pd.DataFrame({"sex": np.where(is_female, "f", "m")})
        right = random.random(1200) < np.where(is_female, 0.9 - gap, 0.9)
        return Evidence("rows.parquet", rows, target, classifier(right, target))

    gate = {"type": "fairness", "metric": "accuracy", "column": "sex", "max_difference": 0.1}
    assert share_that_passes(gate, lambda seed: groups(seed, 0.1), 60) <= most_by_chance(60)
    assert share_that_passes(gate, lambda seed: groups(seed, 0.0), 25) > 0.9


def test_a_business_number_at_its_limit_seldom_passes(tmp_path: Path) -> None:
    file = tmp_path / "gain.py"
    file.write_text("def gain(rows, predictions):\n    return float((rows * (predictions == 'yes')).sum())\n")

    def world(seed: int) -> Evidence:
        random = np.random.default_rng(seed)
        target = random.integers(2, size=200)
        return replace(
            pair(200, 1.0, 0.0, 0.0, seed),
            rows=random.exponential(size=200),
            target=target,
            candidate=classifier(np.ones(200, dtype=bool), target),
            champion=None,
        )

    def gate(least: float) -> dict[str, Any]:
        return {"type": "business", "function": f"{file}:gain", "min": least}

    assert share_that_passes(gate(100.0), world, 100) <= most_by_chance(
        100
    )  # 200 rows, half of them gain 1 each in the mean
    assert share_that_passes(gate(60.0), world, 20) > 0.9

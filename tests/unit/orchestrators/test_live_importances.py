"""Importances of logged rows with outcomes, measured with a real bundle and a real log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.serving import bundles
from winnow.bundle.profile import ColumnCounts, ColumnProfile, Profile
from winnow.finding import Result
from winnow.orchestrators.log_findings import judge_importances
from winnow.routing import Release

ALPHA = 1e-3


def profile(importances: dict[str, float | None]) -> Profile:
    columns = tuple(
        ColumnProfile(name, "number", ColumnCounts((1,)), importance=value, importance_std=0.002)
        for name, value in importances.items()
    )
    return Profile(400, columns, (), 100, "holdout", metric="f1")


def logged(path: Path, rows: int = 600, columns: int = 3, **changed: Any) -> list[str]:
    """A log of rows whose outcome is the class that the model predicts, but for one of ten."""
    random = np.random.default_rng(0)
    lines = []
    values = random.uniform(0, 5, (rows, 3)).astype(np.float32)
    predicted = bundles.softmax(values @ bundles.CLASS_WEIGHTS).argmax(axis=1)
    outcomes = np.where(random.random(rows) < 0.1, 1 - predicted, predicted)
    for number in range(rows):
        fields = dict(zip(bundles.COLUMNS[:columns], values[number].tolist(), strict=False))
        named = {"deployment": "cells", "version": "3", "request_id": str(number), "row": 0}
        prediction = bundles.CLASSES[predicted[number]]
        lines.append({"event": "prediction", "time": number, "prediction": prediction, "fields": fields, **named})
        outcome = bundles.CLASSES[outcomes[number]]
        lines.append({"event": "outcome", "time": number, "outcome": outcome, "request_id": str(number), "row": 0})
    path.write_text("".join(json.dumps({**each, **changed}) + "\n" for each in lines))
    return [str(path)]


def release(folder: Path) -> Release:
    return Release("cells", "3", "00" * 32, bundles.classification(folder / "bundle"))


def known() -> dict[str, float]:
    """Importances in the order of the model's weights."""
    weights = np.abs(bundles.CLASS_WEIGHTS[:, 0] - bundles.CLASS_WEIGHTS[:, 1])
    return {name: float(weight) * 0.1 for name, weight in zip(bundles.COLUMNS, weights, strict=True)}


def test_a_model_that_goes_by_the_same_columns_has_the_same_ranks(tmp_path: Path) -> None:
    paths = logged(tmp_path / "log.jsonl")
    found, reason = judge_importances("cells", release(tmp_path), profile(known()), paths, ALPHA)
    assert reason == ""
    assert found is not None
    assert (found.result, found.estimate, found.n) == (Result.PASS, 1.0, 600)


@pytest.mark.parametrize(
    ("importances", "log", "reason"),
    [
        (known(), {"columns": 2}, "`serving.log.fields` lacks columns of the model, such as"),
        (known(), {"version": "4"}, "the log has no row with `serving.log.fields` and an outcome"),
        (dict.fromkeys(bundles.COLUMNS), {}, "the profile has none"),
    ],
)
def test_why_importances_are_not_compared_is_told(
    tmp_path: Path, importances: dict[str, float | None], log: dict[str, Any], reason: str
) -> None:
    paths = logged(tmp_path / "log.jsonl", **log)
    found, told = judge_importances("cells", release(tmp_path), profile(importances), paths, ALPHA)
    assert found is None
    assert told.startswith(f"Importances were not compared: {reason}")


def test_without_a_log_importances_are_not_compared(tmp_path: Path) -> None:
    found, told = judge_importances("cells", release(tmp_path), profile(known()), [], ALPHA)
    assert (found, told) == (None, "Importances were not compared: `monitoring.quality.outcomes` names no logs.")

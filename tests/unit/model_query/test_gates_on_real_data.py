"""Fairness and business gates on data sets of scikit-learn: the diabetes study's patients, and breast cancer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from pydantic import TypeAdapter
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.unit.model_query.versions import manifest
from winnow.finding import Finding, Result
from winnow.model_query.evidence import Answers, Evidence
from winnow.model_query.gate_verdicts import judge
from winnow.model_query.gates import Gate

GATE: TypeAdapter[Gate] = TypeAdapter(Gate)


def found(evidence: Evidence, **gate: Any) -> Finding:
    return judge([GATE.validate_python(gate)], evidence, "rules.yaml: gates.production")[0]


@pytest.fixture(scope="module")
def diabetes() -> Evidence:
    """A linear regression that does not see the sex, on the half of the patients that it was not fitted on."""
    rows = load_diabetes(as_frame=True, scaled=False).frame
    features = rows.drop(columns=["sex", "target"]).assign(one=1.0).to_numpy()
    weights = np.linalg.lstsq(features[::2], rows["target"].to_numpy()[::2], rcond=None)[0]
    unseen = rows[1::2].reset_index(drop=True)
    target, outputs = unseen["target"].to_numpy()[:, None], (features[1::2] @ weights)[:, None].astype(np.float32)
    return Evidence("the diabetes study", unseen, target, Answers("1", manifest(None), outputs))


def test_the_error_of_both_sexes_is_fairlearns_and_may_differ_by_so_much(diabetes: Evidence) -> None:
    gate = {"type": "fairness", "metric": "mae", "column": "sex"}
    frame = MetricFrame(
        metrics=mean_absolute_error,
        y_true=diabetes.target[:, 0],
        y_pred=diabetes.candidate.predictions,
        sensitive_features=diabetes.rows["sex"],
    )
    wide, near, narrow = (found(diabetes, **gate, max_difference=most) for most in (25.0, 10.0, 1.0))
    assert wide.estimate == pytest.approx(frame.difference(), rel=1e-5)
    assert found(diabetes, **gate, min_ratio=0.5).estimate == pytest.approx(frame.ratio(), rel=1e-5)
    assert [each.result for each in (wide, near, narrow)] == [Result.PASS, Result.NOT_ENOUGH_DATA, Result.FAIL]


COSTS = """
def cost(rows, predictions):
    missed = (rows["diagnosis"] == "malignant") & (predictions == "benign")
    alarms = (rows["diagnosis"] == "benign") & (predictions == "malignant")
    return 10.0 * missed.mean() + alarms.mean()
"""


def test_a_champion_that_misses_tumours_costs_more_than_a_careful_candidate(tmp_path: Path) -> None:
    (tmp_path / "costs.py").write_text(COSTS)
    data = load_breast_cancer()
    names = tuple(map(str, data.target_names))  # malignant, benign
    train, unseen = np.arange(len(data.target)) % 2 == 0, np.arange(len(data.target)) % 2 == 1

    def fitted(version: str, columns: slice, **options: Any) -> Answers:
        model = make_pipeline(StandardScaler(), LogisticRegression(**options))
        model.fit(data.data[train, columns], data.target[train])
        outputs = model.predict_proba(data.data[unseen, columns]).astype(np.float32)
        return Answers(version, manifest(names), outputs)

    rows = pd.DataFrame({"diagnosis": np.asarray(names)[data.target[unseen]]})
    careful, careless = fitted("2", slice(None), class_weight="balanced"), fitted("1", slice(0, 2))
    evidence = Evidence("breast cancer", rows, data.target[unseen], careful, careless, np.ones(len(rows), dtype=bool))
    cost = {"type": "business", "function": f"{tmp_path / 'costs.py'}:cost"}
    finding = found(evidence, **cost, margin=0.2, scale="absolute", goal="minimize")
    assert (finding.result, finding.n) == (Result.PASS, 284)
    assert [found(evidence, **cost, max=most).result for most in (0.5, 0.01)] == [Result.PASS, Result.FAIL]

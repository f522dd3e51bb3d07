"""On real data, a champion that was trained on rows of the candidate's holdout gains nothing by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from pydantic import TypeAdapter
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.unit.serving import bundles
from winnow.bundle.manifest import ONNX, read_manifest
from winnow.bundle.row_digests import row_digests
from winnow.config.experiment import DataConfig
from winnow.data.labelled import LabelledRows, rows_of_study
from winnow.data.sources import load_data
from winnow.finding import Finding, Result
from winnow.model_query.gate_verdicts import judge
from winnow.model_query.gates import Gate
from winnow.orchestrators.evidence import LoadedVersion, Rows, gather
from winnow.tracking.tracker import ModelVersion

SOURCE = DataConfig(source="sklearn:breast_cancer")
DATA = load_data(SOURCE)
FEATURES = np.asarray(DATA.features[:], dtype=np.float32)
NAMES = DATA.class_names or ()
ORDER = np.random.default_rng(0).permutation(len(FEATURES))
TRAINED, SEEN, UNSEEN = ORDER[:169], ORDER[169:419], ORDER[419:]
"""What both were trained on; the candidate's holdout that the champion was trained on, too; the rest of the holdout."""
GATES: list[Gate] = TypeAdapter(list[Gate]).validate_python(
    [{"type": "champion", "metric": "accuracy", "margin": 0, "scale": "absolute"}, {"type": "mcnemar"}]
)


def node(kind: str, given: str, made: str, **attributes: Any) -> Any:
    return helper.make_node(kind, given.split(), [made], **attributes)


def nearest_neighbour(rows: NDArray[np.intp]) -> ModelProto:
    """Answers with the class of the nearest of these rows: it has all of them by heart, and finds others less well."""
    known = FEATURES[rows].astype(np.float64)
    weights, offset = 2 * known.T, -(known**2).sum(axis=1)
    answers = np.where(DATA.target[rows][:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)
    nodes = [
        node("Cast", "input", "x", to=TensorProto.DOUBLE),
        node("MatMul", "x weights", "products"),
        node("Add", "products offset", "nearness"),
        node("ArgMax", "nearness", "nearest", axis=1, keepdims=0),
        node("Gather", "answers nearest", "output", axis=0),
    ]
    return model(nodes, weights=weights, offset=offset, answers=answers)


def logistic_regression(rows: NDArray[np.intp]) -> ModelProto:
    scaler = StandardScaler().fit(FEATURES[rows])
    fitted = LogisticRegression().fit(scaler.transform(FEATURES[rows]), DATA.target[rows])
    slope = fitted.coef_[0] / scaler.scale_
    offset = fitted.intercept_[0] - scaler.mean_ @ slope
    nodes = [node("MatMul", "input weights", "a"), node("Add", "a offset", "b"), node("Softmax", "b", "output", axis=1)]
    weights = np.column_stack([np.zeros_like(slope), slope]).astype(np.float32)
    return model(nodes, weights=weights, offset=np.array([0, offset], np.float32))


def model(nodes: list[Any], **constants: NDArray[Any]) -> ModelProto:
    shape = ["batch", FEATURES.shape[1]]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def version(folder: Path, number: str, made: ModelProto, trained: NDArray[np.intp]) -> LoadedVersion:
    bundle = bundles.write_bundle(
        folder / number,
        made,
        lambda x: onnxruntime.InferenceSession(folder / number / ONNX).run(None, {"input": x})[0],
        name="tumours",
        input_shape=FEATURES.shape[1:],
        columns=DATA.feature_names,
        classes=NAMES,
        targets=DATA.target_names,
    )
    # As the refit does: of the rows that training reads.
    digests = np.unique(row_digests(FEATURES[trained]))
    return LoadedVersion(ModelVersion("tumours", number, f"run-{number}"), bundle, read_manifest(bundle), digests)


def judged(candidate: LoadedVersion, champion: LoadedVersion, holdout: NDArray[np.intp]) -> tuple[Finding, ...]:
    """By the rows as the holdout gives them: with every column of the source, and the names of the classes."""
    frame = rows_of_study(SOURCE).iloc[holdout].reset_index(drop=True)
    rows = LabelledRows("the holdout", frame, np.asarray(NAMES)[DATA.target[holdout]])
    return judge(GATES, gather(Rows(rows), candidate, champion, is_chosen=False), "rules.yaml: gates.production")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[LoadedVersion, LoadedVersion]:
    """An honest candidate, and a champion that has most of the candidate's holdout by heart."""
    known = np.concatenate([TRAINED, SEEN])
    candidate = version(tmp_path, "2", logistic_regression(TRAINED), TRAINED)
    return candidate, version(tmp_path, "1", nearest_neighbour(known), known)


def test_rows_that_the_champion_knows_by_heart_do_not_count(pair: tuple[LoadedVersion, LoadedVersion]) -> None:
    candidate, champion = pair
    holdout = np.concatenate([SEEN, UNSEEN])
    found = judged(candidate, champion, holdout)
    assert found == judged(candidate, champion, UNSEEN)
    assert [(each.result, each.n) for each in found] == [(Result.PASS, len(UNSEEN))] * 2

    # If its training rows counted, they would save it.
    flattered = judged(candidate, replace(champion, trained=np.empty(0, np.uint64)), holdout)
    assert [(each.result, each.n) for each in flattered] == [(Result.NOT_ENOUGH_DATA, len(holdout))] * 2


def test_a_champion_that_knows_the_whole_holdout_decides_nothing(tmp_path: Path) -> None:
    candidate = version(tmp_path, "2", logistic_regression(TRAINED), TRAINED)
    champion = version(tmp_path, "1", nearest_neighbour(ORDER), ORDER)
    found = judged(candidate, champion, np.concatenate([SEEN, UNSEEN]))
    assert {(each.result, each.estimate) for each in found} == {(Result.NOT_ENOUGH_DATA, None)}
    assert "the champion was trained on all 400 rows of the holdout" in found[0].reason

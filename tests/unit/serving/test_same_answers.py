"""Every protocol and form gives the same answer to the same rows."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.serving.bundles import COLUMNS, TENSOR_SHAPE
from winnow.serving import codec
from winnow.serving.codec import Codec
from winnow.serving.inference_codec import InferenceCodec
from winnow.serving.invocations_codec import InvocationsCodec
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor
from winnow.serving.values import Matrix

number = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)
cell = st.none() | number | st.integers(-1000, 1000)
tables = st.lists(st.lists(cell, min_size=3, max_size=3), min_size=1, max_size=5)
tensors = st.lists(
    st.lists(st.lists(cell, min_size=TENSOR_SHAPE[1], max_size=TENSOR_SHAPE[1]), min_size=2, max_size=2),
    min_size=1,
    max_size=3,
)


def _csv(rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["unnamed", *COLUMNS])
    writer.writerows([[index, *("" if value is None else value for value in row)] for index, row in enumerate(rows)])
    return text.getvalue().encode()


def _bare_nan(content: object) -> bytes:
    """JSON as Python's json module writes missing values."""
    text = json.dumps(content)
    return text.replace("null", "NaN").encode()


def _v2(rows: list[Any], shape: tuple[int, ...], datatype: str = "FP32") -> dict[str, Any]:
    flat = np.array(rows, dtype=object).ravel().tolist()
    return {"inputs": [{"name": "input", "shape": [len(rows), *shape], "datatype": datatype, "data": flat}]}


def _table_bodies(rows: list[list[Any]]) -> list[tuple[str, str, bytes]]:
    records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    turned = [{"id": "x", **dict(reversed(record.items()))} for record in records]
    by_column = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    split = {"columns": list(COLUMNS), "data": rows}
    other_order = {"columns": ["id", *reversed(COLUMNS)], "index": [9] * len(rows)}
    other_order["data"] = [["x", *reversed(row)] for row in rows]
    named_tensors = [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP64", "data": [[value] for value in values]}
        for name, values in by_column.items()
    ]
    encode = msgspec.json.encode
    return [
        ("predict", codec.JSON, encode({"rows": records})),
        ("predict", codec.JSON, encode({"rows": rows})),
        ("predict", codec.JSON, encode({"rows": [records[0], *rows[1:]]})),
        ("predict", codec.JSON, _bare_nan({"rows": rows})),
        ("invocations", codec.JSON, encode({"dataframe_split": split, "params": {"a": 1}})),
        ("invocations", codec.JSON, encode({"dataframe_split": {"data": rows}})),
        ("invocations", codec.JSON, encode({"dataframe_split": other_order})),
        ("invocations", codec.JSON, encode({"dataframe_records": records})),
        ("invocations", codec.JSON, encode({"dataframe_records": turned})),
        ("invocations", codec.JSON, encode({"instances": rows})),
        ("invocations", codec.JSON, encode({"instances": records})),
        ("invocations", codec.JSON, encode({"inputs": rows})),
        ("invocations", codec.JSON, encode({"inputs": by_column})),
        ("invocations", codec.JSON, _bare_nan({"inputs": by_column})),
        ("invocations", codec.CSV, _csv(rows)),
        ("inference", codec.JSON, encode(_v2(rows, (3,)))),
        ("inference", codec.JSON, encode({"inputs": named_tensors})),
        ("inference", codec.JSON, _bare_nan(_v2(rows, (3,)))),
    ]


def _tensor_bodies(rows: list[Any]) -> list[tuple[str, str, bytes]]:
    nested = {"inputs": [{"name": "input", "shape": [len(rows), 2, 3], "datatype": "FP32", "data": rows}]}
    encode = msgspec.json.encode
    return [
        ("predict", codec.JSON, encode({"rows": rows})),
        ("predict", codec.JSON, _bare_nan({"rows": rows})),
        ("invocations", codec.JSON, encode({"instances": rows})),
        ("invocations", codec.JSON, encode({"inputs": rows})),
        ("inference", codec.JSON, encode(_v2(rows, TENSOR_SHAPE))),
        ("inference", codec.JSON, encode(nested)),
    ]


def _codecs(predictor: Predictor) -> dict[str, Codec]:
    signature = predictor.signature
    return {
        "predict": PredictCodec(signature),
        "invocations": InvocationsCodec(signature),
        "inference": InferenceCodec(signature),
    }


def _expected(rows: list[Any]) -> Matrix:
    with np.errstate(over="ignore"):
        return np.array(rows, dtype=np.float64).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(rows=tables)
def test_every_form_of_a_table_decodes_to_the_same_rows(classifier: Predictor, rows: list[list[Any]]) -> None:
    codecs = _codecs(classifier)
    expected = _expected(rows)
    for protocol, media_type, body in _table_bodies(rows):
        found = codecs[protocol].decode(body, media_type).matrix
        np.testing.assert_array_equal(found, expected, err_msg=f"{protocol}: {body!r}")
        assert found.dtype == np.float32


@settings(deadline=None, max_examples=30)
@given(rows=tensors)
def test_every_form_of_a_tensor_decodes_to_the_same_rows(tensor_classifier: Predictor, rows: list[Any]) -> None:
    codecs = _codecs(tensor_classifier)
    expected = _expected(rows)
    for protocol, media_type, body in _tensor_bodies(rows):
        found = codecs[protocol].decode(body, media_type).matrix
        np.testing.assert_array_equal(found, expected, err_msg=f"{protocol}: {body!r}")


@settings(deadline=None, max_examples=20)
@given(rows=tables)
def test_every_protocol_answers_a_classification_alike(classifier: Predictor, rows: list[list[Any]]) -> None:
    codecs = _codecs(classifier)
    request = codecs["predict"].decode(msgspec.json.encode({"rows": rows}), codec.JSON)
    outputs = classifier.outputs(request.matrix)
    answers = {name: msgspec.json.decode(each.encode(request, outputs, "request")) for name, each in codecs.items()}
    classes = list(classifier.signature.classes or ())
    labels = [classes[index] for index in outputs.argmax(axis=1)]
    assert answers["predict"]["predictions"] == labels
    assert [row["prediction"] for row in answers["invocations"]["predictions"]] == labels
    probabilities, predicted = answers["inference"]["outputs"]
    assert predicted["data"] == labels
    flat = [row[name] for row in answers["predict"]["probabilities"] for name in classes]
    assert flat == [row[f"probability.{name}"] for row in answers["invocations"]["predictions"] for name in classes]
    assert flat == probabilities["data"] == outputs.ravel().tolist()
    assert all(math.isfinite(value) for value in flat)


def test_every_protocol_answers_a_regression_alike(regressor: Predictor) -> None:
    codecs = _codecs(regressor)
    request = codecs["predict"].decode(b'{"rows": [[1, 2, 3], [0, 0, 1]]}', codec.JSON)
    outputs = regressor.outputs(request.matrix)
    answers = {name: msgspec.json.decode(each.encode(request, outputs, "r")) for name, each in codecs.items()}
    expected = [{"first": 14.0, "second": 140.0}, {"first": 3.0, "second": 30.0}]
    assert answers["predict"]["predictions"] == answers["predict"]["values"] == expected
    assert answers["invocations"]["predictions"] == expected
    assert answers["inference"]["outputs"] == [
        {"name": "output", "datatype": "FP32", "shape": [2, 2], "data": [14.0, 140.0, 3.0, 30.0]}
    ]


def test_a_single_target_is_a_plain_number(tmp_path: Any) -> None:
    from tests.unit.serving import bundles

    predictor = Predictor(bundles.regression(tmp_path / "one", targets=1))
    predict = PredictCodec(predictor.signature)
    request = predict.decode(b'{"rows": [[1, 2, 3]]}', codec.JSON)
    answer = msgspec.json.decode(predict.encode(request, predictor.outputs(request.matrix), "r"))
    assert (answer["predictions"], answer["values"]) == ([14.0], [{"first": 14.0}])


@pytest.mark.parametrize("wanted", [["prediction"], ["output"], ["prediction", "output"]])
def test_an_inference_answers_the_outputs_asked_for(classifier: Predictor, wanted: list[str]) -> None:
    inference = InferenceCodec(classifier.signature)
    body = {**_v2([[1, 2, 3]], (3,)), "id": "mine", "outputs": [{"name": name} for name in wanted]}
    request = inference.decode(msgspec.json.encode(body), codec.JSON)
    answer = msgspec.json.decode(inference.encode(request, classifier.outputs(request.matrix), "request"))
    assert answer["id"] == "mine"
    assert {each["name"] for each in answer["outputs"]} == set(wanted)

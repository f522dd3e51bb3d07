"""Raw rows of every column type give the same numbers in every protocol, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from tests.unit.serving import raw_rows
from tests.unit.serving.asgi import call
from tests.unit.serving.bundles import TABLE, TABLE_ROW
from tests.unit.serving.raw_rows import Row
from winnow.bundle.columns import Column
from winnow.serving import codec, form, problems
from winnow.serving.codec import Codec
from winnow.serving.inference_codec import InferenceCodec
from winnow.serving.invocations_codec import InvocationsCodec
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor
from winnow.serving.problems import ProblemError
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

SECRET = "4111-1111"


def codecs(predictor: Predictor) -> dict[str, Codec]:
    signature = predictor.signature
    return {
        "predict": PredictCodec(signature),
        "invocations": InvocationsCodec(signature),
        "inference": InferenceCodec(signature),
    }


def encoded(records: list[Row]) -> Matrix:
    parts = [column.encode([row[column.name] for row in records]) for column in TABLE]
    return np.concatenate(parts, axis=1).astype(np.float32)


@settings(deadline=None, max_examples=80)
@given(records=raw_rows.rows)
def test_every_form_of_raw_rows_decodes_to_the_same_numbers(mixed_classifier: Predictor, records: list[Row]) -> None:
    known = codecs(mixed_classifier)
    expected = encoded(records)
    for protocol, media_type, body in raw_rows.requests(records):
        found = known[protocol].decode(body, media_type).matrix
        np.testing.assert_array_equal(found, expected, err_msg=f"{protocol}: {body!r}")
        assert found.dtype == np.float32


def test_a_category_is_the_same_in_every_type_that_says_it(mixed_classifier: Predictor) -> None:
    predict = codecs(mixed_classifier)["predict"]
    same: list[Row] = [{"seats": 3.0}, {"seats": "3"}, {"trial": "False"}, {"paid": 1}, {"paid": "true"}]
    body = {"rows": [TABLE_ROW | each for each in same]}
    found = predict.decode(msgspec.json.encode(body), codec.JSON).matrix
    np.testing.assert_array_equal(found, encoded([TABLE_ROW] * len(same)))


@pytest.mark.parametrize("text", ["NaN", "Infinity of \\ things", "-Infinity"])
def test_a_text_may_say_what_numbers_cannot(mixed_classifier: Predictor, text: str) -> None:
    predict = codecs(mixed_classifier)["predict"]
    record = TABLE_ROW | {"plan": text}
    found = predict.decode(msgspec.json.encode({"rows": [record]}), codec.JSON).matrix
    np.testing.assert_array_equal(found, encoded([record]))
    with pytest.raises(ProblemError):
        predict.decode(msgspec.json.encode({"rows": text}), codec.JSON)


def refusal(chosen: Codec, body: object, media_type: str = codec.JSON) -> ProblemError:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(ProblemError) as caught:
        chosen.decode(content, media_type)
    assert SECRET not in msgspec.json.encode(problems.members_of(caught.value, "request")).decode()
    return caught.value


DATE = "expected a date in ISO 8601, such as 2026-11-21 or 2026-11-21T09:30:00 or null"


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("signup", SECRET, f"{DATE}, found another text"),
        ("signup", 19782, f"{DATE}, found a number"),
        ("last seen", True, f"{DATE}, found true or false"),
        ("spent", SECRET, "expected a number or null, found a string"),
        ("spent", "NA", "expected a number or null, found a string"),
        ("calls", True, "expected a number or null, found true or false"),
        ("spent", 1e39, "expected a number within float32, found one beyond"),
        ("paid", SECRET, "expected true or false or null, found another text"),
        ("paid", 2, "expected true or false or null, found a number"),
        ("plan", [SECRET], "expected a text, a whole number or a boolean or null, found an array of 1"),
        ("seats", {"a": SECRET}, "expected a text, a whole number or a boolean or null, found an object"),
    ],
)
def test_a_value_of_another_type_is_named_by_row_and_column(
    mixed_classifier: Predictor, column: str, value: Any, fault: str
) -> None:
    rows = [TABLE_ROW, TABLE_ROW | {column: value}]
    cells = [list(row.values()) for row in rows]
    known = codecs(mixed_classifier)
    for protocol, key, content in [
        ("predict", "rows", rows),
        ("predict", "rows", cells),
        ("invocations", "dataframe_records", rows),
        ("invocations", "instances", cells),
    ]:
        error = refusal(known[protocol], {key: content})
        assert error.detail == f'{key}[1]: column "{column}": {fault}'
        assert [(each.row, each.column) for each in error.findings] == [(1, column)]


def test_every_fault_of_raw_rows_is_found(mixed_classifier: Predictor) -> None:
    bad = TABLE_ROW | {"signup": SECRET, "spent": SECRET}
    error = refusal(codecs(mixed_classifier)["predict"], {"rows": [bad, TABLE_ROW, TABLE_ROW | {"paid": SECRET}]})
    assert [(each.row, each.column) for each in error.findings] == [(0, "signup"), (0, "spent"), (2, "paid")]
    many = refusal(codecs(mixed_classifier)["predict"], {"rows": [bad] * 3_000})
    assert len(many.findings) == problems.MOST_FINDINGS


def test_a_csv_field_that_does_not_fit_is_named(mixed_classifier: Predictor) -> None:
    rows = [TABLE_ROW] * 1_500 + [TABLE_ROW | {"signup": "29.02.2024", "spent": "many"}]
    error = refusal(codecs(mixed_classifier)["invocations"], raw_rows.csv_body(rows), codec.CSV)
    assert [(each.row, each.column) for each in error.findings] == [(1500, "signup"), (1500, "spent")]


@pytest.mark.parametrize(
    ("column", "changes", "detail"),
    [
        ("plan", {"data": [3]}, 'inputs "plan": row 0: column "plan": expected a string or null, found a number'),
        ("seats", {"data": [1.5]}, 'inputs "seats": row 0: column "seats": expected a whole number or null'),
        ("seats", {"data": [True]}, 'column "seats": expected a whole number or null, found true or false'),
        ("paid", {"data": [1]}, 'column "paid": expected true or false or null, found a number'),
        ("paid", {"data": [SECRET], "datatype": "BYTES"}, 'column "paid": expected true or false or null'),
        ("signup", {"data": [SECRET]}, f'column "signup": {DATE}, found another text'),
        ("spent", {"data": ["1"], "datatype": "BYTES"}, 'inputs "spent": expected a datatype of FP16'),
        ("spent", {"data": [SECRET]}, "expected a number or null, found a string"),
        ("plan", {"data": ["pro", "pro"]}, 'inputs "plan": expected 1 values for shape [1], found 2'),
        ("plan", {"datatype": "TEXT"}, 'inputs "plan": expected a datatype of FP16'),
    ],
)
def test_a_tensor_of_a_column_takes_the_values_of_its_datatype(
    mixed_classifier: Predictor, column: str, changes: Row, detail: str
) -> None:
    body = raw_rows.inference([TABLE_ROW])
    for tensor in body["inputs"]:
        tensor |= {"shape": [1], **(changes if tensor["name"] == column else {})}
    assert detail in refusal(codecs(mixed_classifier)["inference"], body).detail


def test_a_table_of_texts_is_not_one_tensor(mixed_classifier: Predictor) -> None:
    whole = {"name": "input", "shape": [1, 14], "datatype": "FP32", "data": [0] * 14}
    error = refusal(codecs(mixed_classifier)["inference"], {"inputs": [whole]})
    assert 'column "plan" is missing' in error.detail


@pytest.fixture(scope="module")
def app(bundle_folder: Path) -> Any:
    return load_app(bundle_folder / "mixed", "3", ServingSettings())


def test_the_schema_has_the_columns_types(app: Any) -> None:
    by_name, in_order = call(app, "GET", "/openapi.json").json["components"]["schemas"]["Row"]["oneOf"]
    types = by_name["properties"]
    assert {name: (schema["type"], schema.get("format")) for name, schema in types.items()} == {
        "plan": (["string", "null"], None),
        "seats": (["integer", "null"], None),
        "trial": (["boolean", "null"], None),
        "paid": (["boolean", "null"], None),
        "signup": (["string", "null"], "date"),
        "last seen": (["string", "null"], "date-time"),
        "spent": (["number", "null"], None),
        "calls": (["integer", "null"], None),
    }
    assert types["plan"]["examples"] == ["basic", "pro", 'the "big" one, €']
    assert in_order["prefixItems"] == list(types.values())


def test_the_metadata_has_a_tensor_for_each_column(app: Any) -> None:
    inputs = call(app, "GET", "/v2/models/churn").json["inputs"]
    assert {each["name"]: each["datatype"] for each in inputs} == {
        "plan": "BYTES",
        "seats": "INT64",
        "trial": "BOOL",
        "paid": "BOOL",
        "signup": "BYTES",
        "last seen": "BYTES",
        "spent": "FP32",
        "calls": "INT64",
    }


def test_the_form_has_an_input_fit_for_each_column(app: Any) -> None:
    page = call(app, "GET", "/docs").body.decode()
    for expected in [
        '<select data-column="plan" data-type="string"><option value="">missing</option><option>basic</option>'
        "<option selected>pro</option><option>the &quot;big&quot; one, €</option></select>",
        '<select data-column="seats" data-type="number"><option value="">missing</option><option>1</option>'
        "<option selected>3</option><option>10</option></select>",
        '<select data-column="paid" data-type="boolean"><option value="">missing</option>'
        "<option selected>true</option><option>false</option></select>",
        '<input data-column="signup" data-type="string" type="date" value="2024-02-29">',
        '<input data-column="last seen" data-type="string" type="datetime-local" step="1" value="2026-11-21T09:30:00">',
        '<input data-column="spent" data-type="number" inputmode="decimal" value="12.5">',
        '<input data-column="calls" data-type="number" inputmode="decimal" value="4">',
    ]:
        assert expected in page


def test_many_categories_are_suggested_in_a_text_field() -> None:
    column = Column("city", "category", "string", tuple(f"c{number:02}" for number in range(13)))
    signature = Signature("m", "1", "0", (1,), (column,), ("a", "b"), ("t",))
    page = form.render(signature, {"city": "c03"})
    assert '<input data-column="city" data-type="string" list="categories-0" value="c03">' in page
    assert page.count("<option") == 13

"""What is wrong with a request is said by row and column, and no value is repeated."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.serving.bundles import COLUMNS
from winnow.serving import codec, problems
from winnow.serving.codec import Codec
from winnow.serving.inference_codec import InferenceCodec
from winnow.serving.invocations_codec import InvocationsCodec
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor
from winnow.serving.problems import ProblemError

GOOD = dict.fromkeys(COLUMNS, 1.0)
SECRET = "4111-1111"


def _refusal(chosen: Codec, body: object, media_type: str = codec.JSON) -> ProblemError:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    with pytest.raises(ProblemError) as caught:
        chosen.decode(content, media_type)
    assert SECRET not in msgspec.json.encode(problems.members_of(caught.value, "request")).decode()
    return caught.value


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        (b"{", "malformed-body", "Expected JSON; Input data was truncated."),
        (b"\xff\xfe", "malformed-body", "Expected JSON"),
        (b"[" * 100_000, "malformed-body", "nested too deeply"),
        ([], "wrong-form", 'Expected an object {"rows": […]}, found an array of 0.'),
        ({"row": []}, "wrong-form", 'Expected the key "rows"'),
        ({"rows": [GOOD], "extra": 1}, "wrong-form", 'found "extra" too'),
        ({"rows": {}}, "invalid-input", "rows: expected an array of rows, found an object"),
        ({"rows": []}, "invalid-input", "rows: expected at least one row, found none"),
        ({"rows": [SECRET]}, "invalid-input", "rows[0]: expected an object by column name or an array of 3 values"),
        ({"rows": [[1, 2]]}, "invalid-input", "rows[0]: expected 3 values, one per column, found 2"),
        ({"rows": [GOOD, {**GOOD, "mean texture": SECRET}]}, "invalid-input", 'rows[1]: column "mean texture"'),
        ({"rows": [[1, 2, True]]}, "invalid-input", "expected a number or null, found true or false"),
        ({"rows": [[1, [2], 3]]}, "invalid-input", "expected a number or null, found an array of 1"),
        ({"rows": [[1, 2, 1e39]]}, "invalid-input", "expected a number within float32"),
        (b'{"rows": [[1, 2, Infinity]]}', "invalid-input", "expected a number within float32"),
        (b'{"rows": [[1, 2, 1' + b"0" * 400 + b"]]}", "invalid-input", "expected a number within float32"),
        (b'{"rows": [{"\\ud800": 1}]}', "invalid-input", "found half of a surrogate pair"),
        (b'{"\\ud800": 1, "rows": []}', "invalid-input", "found half of a surrogate pair"),
        ('{"rows": [[1, 2, 3]]}'.encode("utf-16"), "malformed-body", "Expected JSON"),
        ('{"rows": [[1, 2, 3]]}'.encode("utf-16-le"), "malformed-body", "Expected JSON"),
        ('{"rows": [[1, 2, 3]]}'.encode("utf-32"), "malformed-body", "Expected JSON"),
        (b'{"rows": [' + b"[]," * 600_000 + b"[]]}", "too-large", "Expected at most 510000 arrays and objects"),
        ({"rows": [[1, 2, 3]] * 100_001}, "too-large", "Expected at most 100000 rows, found 100001"),
        (b'{"rows": [' + b"{}," * 100_000 + b"{}]}", "too-large", "Expected at most 100000 rows, found 100001"),
    ],
)
def test_predict_says_what_is_wrong(classifier: Predictor, body: Any, kind: str, detail: str) -> None:
    error = _refusal(PredictCodec(classifier.signature), body)
    assert error.kind == kind
    assert detail in error.detail


def test_a_misspelt_column_is_named_with_the_nearest_one(classifier: Predictor) -> None:
    row = {name: 1 for name in COLUMNS if name != "mean texture"} | {"Mean Textur": 1}
    error = _refusal(PredictCodec(classifier.signature), {"rows": [row]})
    assert [(each.row, each.column) for each in error.findings] == [(0, "Mean Textur"), (0, "mean texture")]
    assert 'unknown column "Mean Textur", did you mean "mean texture"?' in error.detail


def test_a_value_where_a_name_should_be_is_shortened(classifier: Predictor) -> None:
    error = _refusal(PredictCodec(classifier.signature), {"rows": [{**GOOD, "x" * 500: 1}]})
    assert len(error.detail) < 120


def test_every_fault_of_a_body_is_found_up_to_twenty(classifier: Predictor) -> None:
    predict = PredictCodec(classifier.signature)
    few = _refusal(predict, {"rows": [[SECRET, 1, 2], [1, 2, 3], [1, SECRET, True]]})
    assert [(each.row, each.column) for each in few.findings] == [(0, COLUMNS[0]), (2, COLUMNS[1]), (2, COLUMNS[2])]
    many = _refusal(predict, {"rows": [[SECRET, 1, 2]] * 100})
    assert len(many.findings) == problems.MOST_FINDINGS


def test_a_tensors_fault_is_named_by_its_place(tensor_classifier: Predictor) -> None:
    predict = PredictCodec(tensor_classifier.signature)
    good = [[1, 2, 3], [4, 5, 6]]
    error = _refusal(predict, {"rows": [good, [[1, 2, 3], [4, SECRET, 6]]]})
    assert (error.findings[0].row, error.findings[0].column) == (1, (1, 1))
    assert "position [1, 1]" in error.detail
    ragged = _refusal(predict, {"rows": [good, [[1, 2, 3], [4, 5]]]})
    assert "rows[1], at [1] inside the row: expected nested arrays of shape [3], found an array of 2" in ragged.detail


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ({"rows": []}, "wrong-form", 'Expected exactly one of "dataframe_split"'),
        ({"inputs": [[1, 2, 3]], "instances": [[1, 2, 3]]}, "wrong-form", 'found "instances" and "inputs"'),
        ({"dataframe_split": [[1, 2, 3]]}, "wrong-form", 'dataframe_split: expected an object with "data"'),
        ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "invalid-input", "missing"),
        (
            {"dataframe_split": {"columns": [0, 1, 2], "data": [[1, 2, 3]]}},
            "invalid-input",
            "dataframe_split.columns[0]: expected a column's name, found a number",
        ),
        (
            {"dataframe_split": {"columns": ["mean radius", None, ["x"]], "data": [[1, 2, 3]]}},
            "invalid-input",
            "dataframe_split.columns[1]: expected a column's name, found null",
        ),
        (b'{"dataframe_split": {"columns": ["\\ud800"], "data": [[1]]}}', "invalid-input", "surrogate pair"),
        ({"dataframe_records": [{}] * 100_001}, "too-large", "Expected at most 100000 rows, found 100001"),
        ({"inputs": dict.fromkeys(COLUMNS, [1] * 100_001)}, "too-large", "Expected at most 100000 rows, found 100001"),
        ({"dataframe_split": {"columns": list(COLUMNS), "data": [[1, 2]]}}, "invalid-input", "one value per name"),
        ({"dataframe_records": [{"mean radius": 1}]}, "invalid-input", 'column "mean texture" is missing'),
        ({"inputs": {**{name: [1, 2] for name in COLUMNS}, "mean radius": [1]}}, "invalid-input", "expected as many"),
        ({"inputs": {"mean radius": [1]}}, "invalid-input", "missing"),
        ({"instances": [GOOD, {"mean radius": 1}]}, "invalid-input", "instances[1]"),
        ({"instances": [1, 2, 3]}, "invalid-input", "instances[0]"),
    ],
)
def test_invocations_says_what_is_wrong(classifier: Predictor, body: Any, kind: str, detail: str) -> None:
    error = _refusal(InvocationsCodec(classifier.signature), body)
    assert error.kind == kind
    assert detail in error.detail


def _peak_mib(decode: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        decode()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["dataframe_records", "instances"])
def test_records_with_keys_of_their_own_take_memory_for_the_models_columns_alone(
    classifier: Predictor, form: str
) -> None:
    """A row for each unknown key, and each key in one row: 5,000 rows of 5,000 columns would take 200 MiB."""
    chosen = InvocationsCodec(classifier.signature)
    records = [{f"{index:x}": 1} for index in range(5_000)]
    assert _peak_mib(lambda: _refusal(chosen, {form: records})) < 8
    matching = msgspec.json.encode({form: [{**GOOD, **record} for record in records]})
    assert _peak_mib(lambda: chosen.decode(matching, codec.JSON)) < 16


def test_a_csv_takes_memory_for_the_models_columns_alone(classifier: Predictor) -> None:
    names = ["mean radius", "mean texture", '"odd ""name"", here"', *(f"x{index}" for index in range(200))]
    body = "\n".join([",".join(names), *[",".join(["12"] * len(names))] * 2_000]).encode()
    assert _peak_mib(lambda: InvocationsCodec(classifier.signature).decode(body, codec.CSV)) < 8 * len(body) / 2**20


def test_an_error_is_short_however_much_is_sent(classifier: Predictor) -> None:
    signature = classifier.signature
    many = [f"{'long name ' * 10}{index}" for index in range(3_000)]
    bodies: list[tuple[Codec, object, str]] = [
        (PredictCodec(signature), {"rows": [dict.fromkeys(many, 1)]}, codec.JSON),
        (InvocationsCodec(signature), {"dataframe_split": {"columns": many, "data": [many]}}, codec.JSON),
        (InvocationsCodec(signature), f"{','.join(many)}\n1\n".encode(), codec.CSV),
        (InferenceCodec(signature), {"inputs": [_tensor(shape=[1] * 100_000)]}, codec.JSON),
        (InferenceCodec(signature), {"inputs": [_tensor(name=name, shape=[1]) for name in many]}, codec.JSON),
        (InferenceCodec(signature), {"inputs": [_tensor()], "outputs": [{"name": "x" * 100_000}]}, codec.JSON),
    ]
    for chosen, body, media_type in bodies:
        error = _refusal(chosen, body, media_type)
        assert len(msgspec.json.encode(chosen.problem_members(problems.members_of(error, "request")))) < 10_000


def test_a_key_that_only_some_records_have_is_a_missing_value(classifier: Predictor) -> None:
    body = {"dataframe_records": [GOOD, {key: value for key, value in GOOD.items() if key != "mean texture"}]}
    matrix = InvocationsCodec(classifier.signature).decode(msgspec.json.encode(body), codec.JSON).matrix
    assert matrix[1, 1] != matrix[1, 1]
    assert matrix[1, 0] == 1


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        (b"", "invalid-input", "a line of column names"),
        (b"a,b\n1,2\n", "invalid-input", "missing"),
        (
            b'mean radius,mean texture,"odd ""name"", here"\n1,2\n',
            "invalid-input",
            "csv[0]: expected 3 fields, found 2",
        ),
        (b'mean radius,mean texture,"odd ""name"", here"\n1,2,4111-1111\n', "invalid-input", "found a string"),
        (b'mean radius,mean texture,"odd ""name"", here"\n1,2,1_0\n', "invalid-input", "found a string"),
        (b'mean radius,mean texture,"odd ""name"", here"\n1,2,inf\n', "invalid-input", "within float32"),
        ('mean radius,mean texture,"odd ""name"", here"\n1,2,١٢\n'.encode(), "invalid-input", "found a string"),
        (b'mean radius,mean radius,mean texture,"odd ""name"", here"\n1,1,2,3\n', "invalid-input", "is repeated"),
        (b"\xff\n1\n", "malformed-body", "UTF-8"),
        (b'"a\n', "malformed-body", "CSV"),
    ],
)
def test_csv_says_what_is_wrong(classifier: Predictor, body: bytes, kind: str, detail: str) -> None:
    error = _refusal(InvocationsCodec(classifier.signature), body, codec.CSV)
    assert error.kind == kind
    assert detail in error.detail


def test_tensors_do_not_come_as_csv(tensor_classifier: Predictor) -> None:
    error = _refusal(InvocationsCodec(tensor_classifier.signature), b"a\n1\n", codec.CSV)
    assert error.kind == "unsupported-media-type"


def _tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], **changes}


def _digits(count: int) -> bytes:
    """A tensor whose number of rows has so many digits."""
    return msgspec.json.encode({"inputs": [_tensor(shape=[12345, 3])]}).replace(b"12345", b"9" * count)


def _nested(depth: int) -> bytes:
    return msgspec.json.encode({"inputs": [_tensor(data=12345)]}).replace(b"12345", b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ({"rows": []}, "wrong-form", "missing required field `inputs`"),
        ({"inputs": [_tensor(name="x")]}, "invalid-input", 'column "mean radius" is missing'),
        ({"inputs": [_tensor(datatype="BYTES")]}, "wrong-form", "expected a datatype of FP16"),
        ({"inputs": [_tensor(shape=[3])]}, "invalid-input", "expected shape [rows, 3]"),
        ({"inputs": [_tensor(shape=[0, 3], data=[])]}, "invalid-input", "at least one row"),
        ({"inputs": [_tensor(shape=[-1, 3])]}, "invalid-input", "expected shape [rows, 3]"),
        ({"inputs": [_tensor(shape=[2**63 - 1, 3])]}, "too-large", "Expected at most 100000 rows"),
        ({"inputs": [_tensor(shape=[2**64 - 1, 3])]}, "wrong-form", "Expected `int` <= 9223372036854775807"),
        (_digits(4_000), "wrong-form", "Expected `int` <= 9223372036854775807"),
        (_digits(5_000), "malformed-body", "Expected JSON; Integer value out of range"),
        ({"inputs": [_tensor(shape=[1] * 17)]}, "wrong-form", "Expected `array` of length <= 16"),
        (_nested(900), "malformed-body", "nested too deeply"),
        (
            b'{"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [NaN, 1, 1'
            + b"0" * 400
            + b"]}]}",
            "invalid-input",
            "expected a number within float32",
        ),
        (b'{"id": "\\ud800", "inputs": []}', "invalid-input", "surrogate pair"),
        ({"inputs": [_tensor(data=[1, 2])]}, "invalid-input", "expected 3 values for shape [1, 3], found 2"),
        ({"inputs": [_tensor(data=[1, 2, SECRET])]}, "invalid-input", "found a string"),
        ({"inputs": [_tensor(data=[1, 2, True])]}, "invalid-input", "found true or false"),
        ({"inputs": [_tensor(datatype="INT64", data=[1, 2, 2.5])]}, "invalid-input", "expected a whole number"),
        ({"inputs": [_tensor()], "outputs": [{"name": "x"}]}, "wrong-form", 'expected "output" and "prediction"'),
    ],
)
def test_inference_says_what_is_wrong(classifier: Predictor, body: Any, kind: str, detail: str) -> None:
    error = _refusal(InferenceCodec(classifier.signature), body)
    assert error.kind == kind
    assert detail in error.detail


def test_a_boolean_tensor_takes_true_and_false(classifier: Predictor) -> None:
    body = msgspec.json.encode({"inputs": [_tensor(datatype="BOOL", data=[True, False, None])]})
    matrix = InferenceCodec(classifier.signature).decode(body, codec.JSON).matrix
    assert matrix[0, :2].tolist() == [1.0, 0.0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["rows", "data", *COLUMNS]), inner),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(
    content=json_values, key=st.sampled_from(["rows", "instances", "inputs", "dataframe_split", "dataframe_records"])
)
def test_whatever_is_sent_is_decoded_or_refused(
    classifier: Predictor, tensor_classifier: Predictor, content: Any, key: str
) -> None:
    body = msgspec.json.encode({key: content})
    for signature in (classifier.signature, tensor_classifier.signature):
        for chosen in (PredictCodec(signature), InvocationsCodec(signature), InferenceCodec(signature)):
            try:
                matrix = chosen.decode(body, codec.JSON).matrix
            except ProblemError as error:
                assert error.status in (400, 422)
            else:
                assert matrix.shape[1:] == signature.input_shape

"""The registered model as MLflow's Python function, and what the served model answers to the same rows."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from tests.unit.serving import bundles, raw_rows
from tests.unit.serving.asgi import call
from tests.unit.serving.bundles import TABLE, TABLE_ROW
from tests.unit.serving.raw_rows import NAMES, Row
from winnow.bundle.manifest import read_manifest
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings
from winnow.tracking.mlflow_model import BUNDLE, write_surroundings


@dataclass(frozen=True)
class Model:
    """One model, as MLflow loads it and as it is served."""

    pyfunc: mlflow.pyfunc.PyFuncModel
    app: Any

    def served(self, records: list[Any]) -> Any:
        """The probabilities of the served model, float32 [rows, classes]."""
        answer = call(self.app, "POST", "/predict", {"rows": records})
        assert answer.status == 200, answer.body
        return np.array([list(row.values()) for row in answer.json["probabilities"]], dtype=np.float32)

    def predicted(self, frame: Any) -> Any:
        return self.pyfunc.predict(frame).iloc[:, 1:].to_numpy(dtype=np.float32)


def _model(folder: Path, make: Callable[[Path], Path]) -> Model:
    bundle = make(folder / "made")
    shutil.copytree(bundle, folder / "model" / BUNDLE)
    write_surroundings(folder / "model", bundle, read_manifest(bundle), run_id="0" * 32, model_id="m-" + "0" * 32)
    return Model(mlflow.pyfunc.load_model(str(folder / "model")), load_app(bundle, "1", ServingSettings()))


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return _model(tmp_path_factory.mktemp("churn"), bundles.mixed)


@settings(deadline=None, max_examples=40)
@given(records=raw_rows.rows)
def test_raw_rows_have_the_same_answers_in_a_frame_and_in_every_protocol(churn: Model, records: list[Row]) -> None:
    expected = churn.served(records)
    np.testing.assert_array_equal(churn.predicted(pd.DataFrame(records)), expected)
    np.testing.assert_array_equal(churn.predicted(pd.DataFrame(records, dtype=object)), expected)
    np.testing.assert_array_equal(churn.predicted(pd.read_csv(io.BytesIO(raw_rows.csv_body(records)))), expected)
    addresses = {"predict": "/predict", "invocations": "/invocations", "inference": "/v2/models/churn/infer"}
    for protocol, media_type, body in raw_rows.requests(records):
        answer = call(churn.app, "POST", addresses[protocol], body, {"content-type": media_type})
        assert answer.status == 200, answer.body
        np.testing.assert_array_equal(_probabilities(protocol, answer.json), expected, err_msg=f"{protocol}: {body!r}")


def _probabilities(protocol: str, answer: Any) -> Any:
    if protocol == "inference":
        return np.array(answer["outputs"][0]["data"], dtype=np.float32).reshape(-1, 2)
    found = answer["probabilities"] if protocol == "predict" else answer["predictions"]
    return np.array([[value for value in row.values() if not isinstance(value, str)] for row in found], np.float32)


FRAME = pd.DataFrame([TABLE_ROW] * 3, index=[7, 8, 9])
SAME: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "int32": lambda frame: frame.astype({"seats": "int32", "calls": "int32"}),
    "whole numbers as floats": lambda frame: frame.astype({"seats": "float64", "calls": "float32"}),
    "nullable": lambda frame: frame.convert_dtypes(),
    "Arrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "pandas' categories": lambda frame: frame.astype({"plan": "category", "seats": "category"}),
    "datetime64": lambda frame: frame.astype({"signup": "datetime64[s]", "last seen": "datetime64[ns]"}),
    "dates with a zone": lambda frame: frame.assign(**{"last seen": pd.to_datetime(frame["last seen"], utc=True)}),
    "booleans as numbers": lambda frame: frame.astype({"paid": "int64"}),
    "columns in another order": lambda frame: frame[list(reversed(NAMES))],
    "a column more": lambda frame: frame.assign(id="x"),
}


@pytest.mark.parametrize("form", SAME)
def test_a_frame_of_any_types_that_say_the_same_has_the_same_answer(churn: Model, form: str) -> None:
    frame = SAME[form](FRAME)
    np.testing.assert_array_equal(churn.predicted(frame), churn.served([TABLE_ROW] * 3))
    assert churn.pyfunc.predict(frame).index.tolist() == [7, 8, 9]


@pytest.mark.parametrize("name", NAMES)
def test_any_column_may_be_all_missing(churn: Model, name: str) -> None:
    expected = churn.served([TABLE_ROW | {name: None}] * 3)
    for missing in (None, np.nan, pd.NA, pd.NaT):
        np.testing.assert_array_equal(churn.predicted(FRAME.assign(**{name: missing})), expected)


def test_a_value_that_does_not_fit_is_named_and_not_repeated(churn: Model) -> None:
    frame = FRAME.assign(signup=["2024-02-29", "29.02.2024", "2024-02-29"])
    with pytest.raises(ValueError, match="row 1, column 'signup': expected a date in ISO 8601") as caught:
        churn.pyfunc.predict(frame)
    assert "29.02" not in str(caught.value)


def test_a_table_of_numbers_has_typed_columns_and_takes_floats(tmp_path: Path) -> None:
    model = _model(tmp_path, bundles.classification)
    assert [str(column.type) for column in model.pyfunc.metadata.signature.inputs] == ["DataType.double"] * 3
    frame = pd.DataFrame([[1.5, np.nan, 2.0]], columns=list(bundles.COLUMNS))
    expected = model.served([dict(zip(bundles.COLUMNS, [1.5, None, 2.0], strict=True))])
    np.testing.assert_array_equal(model.predicted(frame), expected)


def test_the_types_of_a_tables_columns_are_in_its_metadata(churn: Model) -> None:
    assert churn.pyfunc.metadata.metadata["columns"] == {column.name: column.dtype for column in TABLE}
    assert churn.pyfunc.metadata.signature.inputs.input_names() == NAMES


def test_the_input_example_is_a_raw_row(churn: Model) -> None:
    example = churn.pyfunc.input_example
    assert example.to_dict("records") == [TABLE_ROW]
    np.testing.assert_array_equal(churn.predicted(example), churn.served([TABLE_ROW]))


def test_a_model_of_images_takes_their_pixels(tmp_path: Path) -> None:
    model = _model(tmp_path, bundles.images)
    example = model.pyfunc.input_example
    assert example.shape == (1, *bundles.IMAGES.shape)
    rows = example.astype(np.float32)
    np.testing.assert_array_equal(model.predicted(rows), model.served(rows.tolist()))


FORMS: dict[str, Any] = {
    "dataframe_split": {"dataframe_split": {"columns": NAMES, "data": [list(TABLE_ROW.values())]}},
    "dataframe_records": {"dataframe_records": [TABLE_ROW, dict.fromkeys(NAMES)]},
    "instances": {"instances": [TABLE_ROW, TABLE_ROW | {"plan": None, "paid": None}]},
    "inputs": {"inputs": {name: [value, value] for name, value in TABLE_ROW.items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_mlflows_own_server_answers_raw_rows_alike(churn: Model, form: str) -> None:
    from mlflow.pyfunc.scoring_server import init

    theirs, ours = (call(app, "POST", "/invocations", FORMS[form]) for app in (init(churn.pyfunc), churn.app))
    assert (theirs.status, ours.status) == (200, 200), theirs.body
    left, right = (_probabilities("invocations", answer.json) for answer in (theirs, ours))
    np.testing.assert_array_equal(left, right)

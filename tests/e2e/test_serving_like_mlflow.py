"""`/invocations` against MLflow's own scoring server, on the same registered model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving import bundles
from tests.unit.serving.asgi import JSON, Response, call
from tests.unit.serving.bundles import COLUMNS
from winnow.bundle.manifest import read_manifest
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings
from winnow.tracking.mlflow_model import BUNDLE, write_surroundings

RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in ([1.5, 2.25, 3.0], [0.5, -1.0, 7.125])]
ROWS = [list(record.values()) for record in RECORDS]
LINES = 'mean radius,mean texture,"odd ""name"", here"\n1.5,2.25,3.0\n0.5,,7.125\n'
FORMS: dict[str, Any] = {
    "dataframe_split": {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS}},
    "dataframe_split in another order, with an index and a column more": {
        "dataframe_split": {
            "columns": [*reversed(COLUMNS), "id"],
            "index": [7, 9],
            "data": [[*reversed(row), "x"] for row in ROWS],
        }
    },
    "dataframe_records": {"dataframe_records": RECORDS},
    "dataframe_records with a column more": {"dataframe_records": [{**record, "id": "x"} for record in RECORDS]},
    "dataframe_records with a missing value": {"dataframe_records": [RECORDS[0], {**RECORDS[1], COLUMNS[1]: None}]},
    "dataframe_records with a key left out": {
        "dataframe_records": [RECORDS[0], {name: value for name, value in RECORDS[1].items() if name != COLUMNS[1]}]
    },
    "instances by name": {"instances": RECORDS},
    "inputs by column": {"inputs": {name: [record[name] for record in RECORDS] for name in COLUMNS}},
    "inputs of a single row": {"inputs": RECORDS[0]},
    "params": {"dataframe_records": RECORDS, "params": {"unknown": 1}},
    "further keys": {"dataframe_records": RECORDS, "more": 1},
}
REFUSED: dict[str, Any] = {
    "no form": {"rows": ROWS},
    "two forms": {"inputs": ROWS, "instances": ROWS},
    "no object": [1, 2],
    "a missing column": {"dataframe_records": [{"mean radius": 1.0}]},
    "text for a number": {"dataframe_records": [{**RECORDS[0], "mean radius": "x"}]},
    "rows of another width": {"dataframe_split": {"columns": list(COLUMNS), "data": [[1.0, 2.0]]}},
    "records that are none": {"dataframe_records": {"a": 1}},
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """MLflow's application and winnow's, for each kind of model."""
    from mlflow.pyfunc import load_model
    from mlflow.pyfunc.scoring_server import init

    found = {}
    kinds: dict[str, Callable[[Path], Path]] = {"table": bundles.classification, "regression": bundles.regression}
    for kind, make in {**kinds, "tensors": bundles.tensors}.items():
        bundle = make(tmp_path_factory.mktemp("bundle") / kind)
        model = tmp_path_factory.mktemp("model")
        shutil.copytree(bundle, model / BUNDLE)
        write_surroundings(model, bundle, read_manifest(bundle), run_id="0" * 32, model_id="m-" + "0" * 32)
        found[kind] = (init(load_model(str(model))), load_app(bundle, "1", ServingSettings()))
    return found


def _both(apps: tuple[Any, Any], body: object, headers: dict[str, str] = JSON) -> tuple[Response, Response]:
    theirs, ours = (call(app, "POST", "/invocations", body, headers) for app in apps)
    return theirs, ours


def _close(theirs: object, ours: object) -> bool:
    """Equal but for the last digits, in which float32 and the order of operations may differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return theirs.keys() == ours.keys() and all(_close(theirs[key], ours[key]) for key in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        return len(theirs) == len(ours) and all(map(_close, theirs, ours))
    return theirs == pytest.approx(ours, rel=1e-6) if isinstance(theirs, float) else theirs == ours


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_answered_as_mlflow_does(servers: dict[str, tuple[Any, Any]], form: str) -> None:
    theirs, ours = _both(servers["table"], FORMS[form])
    assert (theirs.status, ours.status) == (200, 200), theirs.body
    assert _close(theirs.json, ours.json)


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_rows_in_order_are_taken_where_mlflow_wants_names(servers: dict[str, tuple[Any, Any]], form: str) -> None:
    theirs, ours = _both(servers["table"], {form: ROWS})
    assert (theirs.status, ours.status) == (400, 200)
    assert _close(call(servers["table"][0], "POST", "/invocations", {"inputs": RECORDS}).json, ours.json)


def test_csv_is_answered_as_mlflow_does(servers: dict[str, tuple[Any, Any]]) -> None:
    theirs, ours = _both(servers["table"], LINES.encode(), {"content-type": "text/csv; charset=utf-8"})
    assert (theirs.status, ours.status) == (200, 200)
    assert _close(theirs.json, ours.json)


def test_values_are_answered_as_mlflow_does(servers: dict[str, tuple[Any, Any]]) -> None:
    theirs, ours = _both(servers["regression"], FORMS["dataframe_split"])
    assert (theirs.status, ours.status) == (200, 200)
    assert _close(theirs.json, ours.json)


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_tensors_are_answered_as_mlflow_does(servers: dict[str, tuple[Any, Any]], form: str) -> None:
    theirs, ours = _both(servers["tensors"], {form: [[[1, 2, 3], [4, 5, 6]], [[0.5, 0, 0], [1, 1, 1]]]})
    assert (theirs.status, ours.status) == (200, 200), theirs.body
    assert _close(theirs.json, ours.json)


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_mlflow_refuses_is_refused(servers: dict[str, tuple[Any, Any]], wrong: str) -> None:
    theirs, ours = _both(servers["table"], json.dumps(REFUSED[wrong]).encode())
    assert theirs.status // 100 == ours.status // 100 == 4


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=latin-1", "application/xml"])
def test_content_types_that_mlflow_refuses_are_refused(servers: dict[str, tuple[Any, Any]], content_type: str) -> None:
    theirs, ours = _both(servers["table"], b"{}", {"content-type": content_type})
    assert theirs.status == ours.status == 415

"""Whatever a client sends is answered: no request is a fault of the server."""

from __future__ import annotations

import asyncio
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from tests.feature_server import FeatureServer, serving
from tests.unit.serving import asgi
from tests.unit.serving.asgi import call
from tests.unit.serving.bundles import COLUMNS
from winnow.routing import FeatureSettings, PredictionLogSettings
from winnow.serving.app import App
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings

PATHS = (
    *("/predict", "/invocations", "/v2/models/cells/infer", "/v2/models/digits/infer", "/v2/models/other/infer"),
    *("/v2", "/v2/models/cells", "/livez", "/readyz", "/metrics", "/model", "/docs", "/docs/docs.css", "/openapi.json"),
    *("/feedback", "/", "/nothing", "/v2/models/cells/versions/99/ready"),
)
KEYS = (
    *("rows", "data", "columns", "index", "instances", "inputs", "dataframe_split", "dataframe_records", "params"),
    *("request_id", "outcome", "row", "malignant", "target"),
    *("id", "name", "shape", "datatype", "outputs", "parameters", "input", "output", "FP32", "INT8", "BOOL", *COLUMNS),
)
# json.dumps writes lone surrogates, NaN and numbers of any size, which msgspec does not.
text = st.text(st.characters(), max_size=6) | st.sampled_from(["\ud800", "\udfff", *KEYS])
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(2**63), 3.4e38, -3.4e38, 2**64, 1e-46])
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=15,
)
tensor = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["input", *COLUMNS]) | text,
        "shape": st.lists(st.integers(-1, 4) | numbers, max_size=4),
        "datatype": st.sampled_from(["FP32", "FP64", "INT32", "BOOL", "BYTES"]),
        "data": st.lists(numbers | values, max_size=6),
    }
)
rows = st.lists(st.lists(numbers | values, min_size=2, max_size=4) | values, max_size=3)
forms = st.one_of(
    values,
    st.dictionaries(st.sampled_from(KEYS), rows | values, max_size=2),
    st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": st.lists(values), "data": rows})}),
    st.fixed_dictionaries({"inputs": st.lists(tensor, max_size=3), "id": text}),
)
bodies = st.one_of(
    st.binary(max_size=40),
    forms.map(lambda form: json.dumps(form).encode()),
    st.builds(lambda form, encoding: json.dumps(form).encode(encoding), forms, st.sampled_from(["utf-16", "utf-32"])),
    st.lists(st.lists(st.sampled_from([*COLUMNS, "1", "x", '"', ""]), max_size=4), max_size=4).map(
        lambda lines: "\n".join(",".join(line) for line in lines).encode()
    ),
)
header_text = st.text(string.printable, max_size=12)
headers = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(["application/json", "text/csv", "application/json; charset=utf-16"])
        | header_text,
        "content-encoding": st.sampled_from(["identity", "IDENTITY", "gzip"]),
        "content-length": st.sampled_from(["0", "0" * 5_000, "9" * 5_000, "-1", "1e3", "²"]),
        "authorization": header_text,
        "x-request-id": header_text,
        "x-winnow-route": st.sampled_from(["7 2 mirrored", "9" * 40 + " 1 chosen", "7  assigned", "-1 2 assigned"]),
        "traceparent": header_text,
    },
)


@pytest.fixture(scope="module", params=["classification", "regression", "tensors"])
def fuzzed(
    request: pytest.FixtureRequest, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    written = tmp_path_factory.mktemp("log") / "log.jsonl"
    log = PredictionLogSettings(to=str(written), fields=COLUMNS if request.param != "tensors" else ())
    app = load_app(bundle_folder / request.param, "3", ServingSettings(max_rows=50, is_access_logged=True, log=log))
    yield app
    app.close()
    events = {json.loads(line)["event"] for line in written.read_text().splitlines()}
    assert events <= {"prediction", "outcome"}  # every line is whole JSON


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["POST", "GET", "HEAD", "PUT", "X"]), path=st.sampled_from(PATHS), body=bodies, head=headers
)
@example("POST", "/feedback", b'{"request_id": "a", "outcome": "malignant"}', {})
@example("POST", "/feedback", b'{"request_id": "a", "outcome": {"first": 1, "second": 2}}', {})
@example("POST", "/predict", b'{"rows":[[3.4e38,-3.4e38,3.4e38]]}', {})
def test_no_request_is_a_fault_of_the_server(
    fuzzed: App, method: str, path: str, body: bytes, head: dict[str, str]
) -> None:
    answer = call(fuzzed, method, path, body, head)
    assert answer.status < 500
    if answer.headers.get("content-type") == "application/problem+json" and method != "HEAD":
        assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert len(answer.body) < 10_000


keys = numbers | text | st.none() | st.booleans() | st.lists(st.integers(), max_size=2)
keyed = st.lists(
    st.fixed_dictionaries({}, optional={"cell": keys, "plate": keys, **dict.fromkeys(COLUMNS, numbers | values)})
    | st.lists(numbers, min_size=3, max_size=3)
    | values,
    max_size=4,
)


@pytest.mark.parametrize("fallback", ["error", "missing"])
@pytest.mark.parametrize("has_kinds", [False, True])
def test_no_key_is_a_fault_of_the_server(bundle_folder: Path, fallback: str, has_kinds: bool) -> None:
    kinds: Any = {"cell": "int64", "plate": "string"} if has_kinds else UNSET
    with serving(FeatureServer({7: {COLUMNS[0]: (1.0, "PRESENT")}})) as server, asyncio.Runner() as loop:
        found = FeatureSettings(server.url, "cells", ("cell", "plate"), 5.0, fallback, kinds)
        app = load_app(bundle_folder / "classification", "3", ServingSettings(features=found))

        @settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
        @given(rows=keyed)
        def is_no_fault(rows: Any) -> None:
            body = json.dumps({"rows": rows}).encode()
            assert loop.run(asgi.answer(app, "POST", "/predict", body)).status < 500

        is_no_fault()
        app.close()
    for asked in server.asked if has_kinds else ():
        assert all(type(key) is int and -(2**63) <= key < 2**63 for key in asked["entities"]["cell"])
        assert all(type(key) is str for key in asked["entities"]["plate"])

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.serving import bundles
from tests.unit.serving.asgi import JSON, call
from tests.unit.serving.bundles import CLASSES, COLUMNS, TABLE_ROW
from winnow.bundle.manifest import EXAMPLE, REGISTERED, read_manifest, write_manifest
from winnow.serving.admin import make_admin
from winnow.serving.app import App
from winnow.serving.predictor import Predictor
from winnow.serving.request import ASGIApp
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings

ROWS = {"rows": [[1, 2, 3]]}
PROTOCOLS = {
    "/predict": ROWS,
    "/invocations": {"instances": [[1, 2, 3]]},
    "/v2/models/cells/infer": {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]},
}
PROBES = ("/livez", "/readyz", "/metrics", "/ping", "/health", "/v2/health/live", "/v2/health/ready", "/v2")


@pytest.fixture
def app(bundle_folder: Path) -> Iterator[App]:
    made = load_app(bundle_folder / "classification", "3", ServingSettings())
    yield made
    made.close()


def _with(bundle: Path, **changes: Any) -> App:
    return load_app(bundle, "3", ServingSettings(**changes))


def test_predict_answers_with_classes_model_and_request_id(app: App) -> None:
    answer = call(app, "POST", "/predict", ROWS, {**JSON, "X-Request-ID": "mine-1"})
    assert answer.status == 200
    assert set(answer.json) == {"predictions", "probabilities", "model", "request_id"}
    assert set(answer.json["probabilities"][0]) == set(CLASSES)
    assert (answer.json["model"]["name"], answer.json["model"]["version"]) == ("cells", "3")
    assert answer.json["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-winnow-model"].startswith("cells/3 sha256:")


def test_an_unfit_request_id_is_replaced(app: App) -> None:
    given = "x" * 200
    assert call(app, "POST", "/predict", ROWS, {**JSON, "X-Request-ID": given}).headers["x-request-id"] != given


def test_a_body_in_pieces_is_put_together(app: App) -> None:
    assert call(app, "POST", "/predict", ROWS, pieces=4).status == 200


def test_large_bodies_are_answered_on_the_worker_thread(app: App) -> None:
    answer = call(app, "POST", "/predict", {"rows": [[1.25, 2.5, 3.75]] * 10_000})
    assert len(answer.json["predictions"]) == 10_000


@pytest.mark.parametrize("path", PROTOCOLS)
@pytest.mark.parametrize(
    ("method", "headers", "body", "status"),
    [
        ("GET", JSON, b"", 405),
        ("POST", {"content-type": "application/x-www-form-urlencoded"}, b"{}", 415),
        ("POST", {"content-type": "application/json; charset=latin-1"}, b"{}", 415),
        ("POST", {**JSON, "content-encoding": "gzip"}, b"{}", 415),
        ("POST", JSON, b"{", 400),
        ("POST", JSON, b"{}", 400),
    ],
)
def test_wrong_requests_get_their_status_as_a_problem(
    app: App, path: str, method: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = call(app, method, path, body, headers)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json["status"] == status
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"] == "POST"


def test_clients_of_each_protocol_find_the_message_where_they_look(app: App) -> None:
    wrong = call(app, "POST", "/invocations", {"instances": [[1]]}).json
    assert (wrong["error_code"], wrong["message"]) == ("BAD_REQUEST", wrong["detail"])
    wrong = call(app, "POST", "/v2/models/cells/infer", {}).json
    assert wrong["error"] == wrong["detail"]


def test_a_body_above_the_limit_is_refused(bundle_folder: Path) -> None:
    app = _with(bundle_folder / "classification", max_body_bytes=100)
    for size in (101, 300, 10_000):
        answer = call(app, "POST", "/predict", b" " * size, {**JSON, "content-length": str(size)}, pieces=3)
        assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert call(app, "POST", "/predict", b" " * 10_000, JSON, pieces=50).status == 413


def test_more_rows_than_the_limit_are_refused(bundle_folder: Path) -> None:
    app = _with(bundle_folder / "classification", max_rows=2)
    assert call(app, "POST", "/predict", {"rows": [[1, 2, 3]] * 2}).status == 200
    answer = call(app, "POST", "/predict", {"rows": [[1, 2, 3]] * 3})
    assert (answer.status, answer.json["detail"]) == (
        413,
        "Expected at most 2 rows, found 3: send them in several requests.",
    )


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_a_models_own_crash_is_a_5xx(bundle_folder: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    app = _with(bundle_folder / "crashing")
    form = "rows" if path == "/predict" else "instances"
    assert call(app, "POST", path, {form: [[1, 2, 3]]}).status == 200
    with caplog.at_level(logging.ERROR, "winnow.serving"):
        answer = call(app, "POST", path, {form: [[123456, 2, 3]]})
    assert (answer.status, answer.json["type"]) == (500, "/docs#model-failed")
    assert "123456" not in answer.body.decode()
    assert answer.json["request_id"] in caplog.text
    assert call(app, "POST", path, {form: [[1, 2, 3]]}).status == 200


def test_a_missing_value_that_the_model_cannot_replace_is_named(bundle_folder: Path) -> None:
    app = _with(bundle_folder / "regression")
    answer = call(app, "POST", "/predict", {"rows": [[1, 2, 3], [1, None, 3]]})
    assert (answer.status, answer.json["row"], answer.json["column"]) == (422, 1, "mean texture")
    assert answer.json["type"] == "/docs#no-answer"


def test_values_that_the_model_cannot_compute_with_are_named_by_their_row(app: App) -> None:
    """Each is within float32, and their sum is not."""
    answer = call(app, "POST", "/predict", {"rows": [[1, 2, 3], [3.4e38, 3.4e38, -3.4e38]]})
    assert (answer.status, answer.json["type"], answer.json["row"]) == (422, "/docs#no-answer", 1)
    assert answer.json["detail"] == "row 1: the model has no finite answer to values of this size"


def test_a_missing_value_that_the_model_replaces_is_answered(app: App) -> None:
    with_gap = call(app, "POST", "/predict", {"rows": [[1, None, 3]]}).json
    with_mean = call(app, "POST", "/predict", {"rows": [[1, 2.0, 3]]}).json
    assert with_gap["probabilities"] == with_mean["probabilities"]


def test_the_key_guards_predictions_and_nothing_else(bundle_folder: Path) -> None:
    app = _with(bundle_folder / "classification", api_key=b"secret")
    for path, body in PROTOCOLS.items():
        refused = call(app, "POST", path, body)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert call(app, "POST", path, body, {**JSON, "authorization": "Bearer wrong"}).status == 401
        assert call(app, "POST", path, body, {**JSON, "authorization": "Bearer secret"}).status == 200
        assert call(app, "POST", path, body, {**JSON, "x-api-key": "secret"}).status == 200
    for path in (*PROBES, "/docs", "/openapi.json", "/model"):
        assert call(app, "GET", path).status == 200


def test_a_draining_server_is_alive_and_answers_but_is_not_ready(app: App) -> None:
    for path in PROBES:
        assert call(app, "GET", path).status == 200
    app.start_draining()
    for path in ("/readyz", "/ping", "/health", "/v2/health/ready", "/v2/models/cells/ready"):
        assert call(app, "GET", path).status == 503
    assert call(app, "GET", "/livez").status == 200
    answer = call(app, "POST", "/predict", ROWS)
    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_open_inference_metadata_describes_the_model(app: App) -> None:
    for path in ("/v2/models/cells", "/v2/models/cells/versions/3"):
        assert call(app, "GET", path).json == {
            "name": "cells",
            "versions": ["3"],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [
                {"name": "output", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "prediction", "datatype": "BYTES", "shape": [-1]},
            ],
        }
    assert call(app, "GET", "/v2/models/cells/ready").json == {"name": "cells", "ready": True}


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/other/infer", "/v2/models/cells/versions/99/infer"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_model_or_version_is_not_found_and_the_served_one_is_named(app: App, method: str, path: str) -> None:
    answer = call(app, method, path, PROTOCOLS["/v2/models/cells/infer"])
    assert (answer.status, answer.json["error"]) == (404, 'This server has the model "cells" in version "3".')


@pytest.mark.parametrize(
    "headers",
    [{"content-encoding": "Identity"}, {"content-length": "0" * 5_000}, {"content-length": "0" * 5_000 + "21"}],
)
def test_headers_are_read_as_http_means_them(app: App, headers: dict[str, str]) -> None:
    assert call(app, "POST", "/predict", ROWS, {**JSON, **headers}).status == 200


def test_a_length_of_thousands_of_digits_is_too_large(app: App) -> None:
    assert call(app, "POST", "/predict", ROWS, {**JSON, "content-length": "9" * 5_000}).status == 413


def test_the_card_has_what_the_registry_knows_of_the_version(app: App, bundle_folder: Path, tmp_path: Path) -> None:
    card = call(app, "GET", "/model").json
    assert (card["semantic_version"], card["lineage"], card["gates"]) == (None, {}, {})
    bundle = shutil.copytree(bundle_folder / "classification", tmp_path / "bundle")
    known = {"semantic_version": "1.2.0", "lineage": {"winnow.data.version": "0acf482b8e54"}}
    (bundle / REGISTERED).write_text(json.dumps(known))
    registered = _with(bundle)
    card = call(registered, "GET", "/model").json
    assert {key: card[key] for key in known} == known
    registered.close()


def test_the_card_has_the_digest_of_the_images_software(classifier: Predictor, tmp_path: Path) -> None:
    def digest() -> str | None:
        app = App(classifier, ServingSettings(), lambda: make_admin(classifier, ServingSettings(), tmp_path))
        with contextlib.closing(app):
            return call(app, "GET", "/model").json["sbom_sha256"]

    assert digest() is None
    (tmp_path / "sbom.cdx.json").write_bytes(b"{}")
    assert digest() == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_the_documentation_is_there_after_a_start_that_failed(classifier: Predictor) -> None:
    """As without a file descriptor, when its modules cannot be read."""
    starts = iter([OSError(24, "Too many open files"), None])

    def make() -> ASGIApp:
        error = next(starts)
        if error is not None:
            raise error
        return make_admin(classifier, ServingSettings())

    app = App(classifier, ServingSettings(), make)
    failed = call(app, "GET", "/model")
    assert (failed.status, failed.headers["retry-after"]) == (429, "1")
    assert failed.json["request_id"] == failed.headers["x-request-id"]
    assert [call(app, "GET", path).status for path in ("/model", "/nothing", "/model")] == [200, 404, 200]
    app.close()


def test_an_exception_that_nothing_foresees_is_a_problem(
    classifier: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> ASGIApp:
        raise AssertionError

    app = App(classifier, ServingSettings(), make)
    # The server's own probe fails: headers that are not bytes never come from a server.
    answer = call(app, "GET", "/livez", scope={"headers": [("text", "text", "text")]})
    assert (answer.status, answer.headers["content-type"], answer.json["title"]) == (
        500,
        "application/problem+json",
        "The server failed",
    )
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert answer.json["request_id"] in caplog.text


def test_metrics_count_requests_rows_and_name_the_model(app: App) -> None:
    call(app, "POST", "/predict", {"rows": [[1, 2, 3]] * 4})
    call(app, "POST", "/predict", b"{")
    call(app, "GET", "/made/up/by/a/stranger")
    text = call(app, "GET", "/metrics").body.decode()
    assert 'winnow_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'winnow_requests_total{route="/predict",status="400"} 1.0' in text
    assert 'winnow_requests_total{route="/predict",status="500"} 0.0' in text  # from the start
    assert 'winnow_requests_total{route="other",status="404"} 1.0' in text
    assert 'winnow_rows_total{route="/predict"} 4.0' in text
    assert 'winnow_request_duration_seconds_count{route="/predict"} 2.0' in text
    assert "winnow_requests_in_flight 0.0" in text
    assert 'winnow_model_info{digest="' in text
    assert "stranger" not in text


def test_a_client_that_leaves_is_counted_and_harms_nobody(app: App) -> None:
    async def leave() -> None:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            raise AssertionError("nobody is there to be answered")

        await app({"type": "http", "method": "POST", "path": "/predict", "headers": []}, receive, send)

    asyncio.run(leave())
    assert 'winnow_requests_total{route="/predict",status="499"} 1.0' in call(app, "GET", "/metrics").body.decode()


def test_the_access_log_is_one_json_line_with_the_trace(bundle_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = _with(bundle_folder / "classification", is_access_logged=True)
    with caplog.at_level(logging.INFO, "winnow.serving.access"):
        call(app, "POST", "/predict", ROWS, {**JSON, "X-Request-ID": "a", "traceparent": "00-abc-def-01"})
    line = json.loads(caplog.records[-1].message)
    assert {key: line[key] for key in ("method", "path", "status", "rows", "request_id", "traceparent")} == {
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "rows": 1,
        "request_id": "a",
        "traceparent": "00-abc-def-01",
    }


def test_unknown_addresses_and_methods_are_problems_too(app: App) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/docs", 405), ("POST", "/livez", 405)):
        answer = call(app, method, path)
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json["request_id"] == answer.headers["x-request-id"]


def test_the_documentation_loads_nothing_from_elsewhere(app: App) -> None:
    page = call(app, "GET", "/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    text = page.body.decode()
    assert all(name.replace('"', "&quot;") in text for name in COLUMNS)
    loaded = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", text)
    assert set(loaded) == {"data:,", "/docs/docs.css", "/docs/docs.js"}
    for asset in ("/docs/docs.css", "/docs/docs.js"):
        found = call(app, "GET", asset)
        assert found.status == 200
        assert re.search(rb"https?://|@import|\burl\(", found.body) is None
    assert call(app, "GET", "/docs/other.js").status == 404
    assert call(app, "GET", "/").headers["location"] == "/docs"


def test_the_models_card_holds_a_request_that_works(app: App) -> None:
    card = call(app, "GET", "/model").json
    assert (card["version"], card["trial"], card["git_commit"][:6]) == ("3", 7, "c0ffee")
    assert call(app, "POST", "/predict", card["input_example"]).status == 200


@pytest.mark.parametrize("make", [bundles.classification, bundles.tensors])
def test_a_row_of_the_data_in_an_older_bundle_is_not_published(make: Callable[[Path], Path], tmp_path: Path) -> None:
    bundle = make(tmp_path / "older")
    write_manifest(bundle, msgspec.structs.replace(read_manifest(bundle), format=1))
    app = _with(bundle)
    is_table = make is bundles.classification
    zeros = dict.fromkeys(COLUMNS, 0.0) if is_table else [[0.0] * 3] * 2
    assert call(app, "GET", "/model").json["input_example"] == {"rows": [zeros]}
    stored = msgspec.json.decode((bundle / EXAMPLE).read_bytes())["rows"][0]
    for value in stored.values() if is_table else stored[0]:
        for path in ("/model", "/docs", "/openapi.json"):
            assert f"{value:.5g}" not in call(app, "GET", path).body.decode()


@pytest.mark.parametrize("kind", ["classification", "regression", "tensors", "mixed"])
def test_openapi_is_exact_and_its_examples_work(bundle_folder: Path, kind: str) -> None:
    app = _with(bundle_folder / kind)
    document = call(app, "GET", "/openapi.json").json
    row = document["components"]["schemas"]["Row"]
    if kind == "tensors":
        assert (row["minItems"], row["maxItems"], row["items"]["minItems"]) == (2, 2, 3)
    else:
        assert row["oneOf"][0]["required"] == [*(TABLE_ROW if kind == "mixed" else COLUMNS)]
        assert row["oneOf"][0]["additionalProperties"] is False
    sent = 0
    for path, operations in document["paths"].items():
        if "get" in operations:
            assert call(app, "GET", path).status == 200
            continue
        content = operations["post"]["requestBody"]["content"]
        for example in content["application/json"]["examples"].values():
            assert call(app, "POST", path, example["value"]).status == 200
            sent += 1
        if "text/csv" in content:
            body = content["text/csv"]["example"].encode()
            assert call(app, "POST", path, body, {"content-type": "text/csv"}).status == 200
    assert sent == (4 if kind == "tensors" else 7)

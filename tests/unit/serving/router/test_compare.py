"""Two answers to one request, in every protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.serving.asgi import call
from winnow.serving.router.compare import Comparison, compare
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings

AGREED = Comparison(is_agreed=True, is_flip=False, distance=0.0)


def _classes(*rows: tuple[str, float]) -> dict[str, dict[str, Any]]:
    labels = [label for label, _ in rows]
    return {
        "/predict": {"predictions": labels, "probabilities": [{"a": p, "b": 1 - p} for _, p in rows]},
        "/invocations": {
            "predictions": [{"prediction": label, "probability.a": p, "probability.b": 1 - p} for label, p in rows]
        },
        "/v2/models/m/infer": {
            "outputs": [
                {"name": "output", "shape": [len(rows), 2], "data": [x for _, p in rows for x in (p, 1 - p)]},
                {"name": "prediction", "shape": [len(rows)], "data": labels},
            ]
        },
    }


def _values(*rows: float) -> dict[str, dict[str, Any]]:
    return {
        "/predict": {"predictions": list(rows), "values": [{"price": value} for value in rows]},
        "/invocations": {"predictions": [{"price": value} for value in rows]},
        "/v2/models/m/infer": {"outputs": [{"name": "output", "shape": [len(rows), 1], "data": list(rows)}]},
    }


def _compare(path: str, stable: object, candidate: object, *, is_classifier: bool = True) -> Comparison:
    bodies = msgspec.json.encode(stable), msgspec.json.encode(candidate)
    return compare(path, *bodies, is_classifier=is_classifier)


PATHS = ("/predict", "/invocations", "/v2/models/m/infer")


@pytest.mark.parametrize("path", PATHS)
def test_classes_are_compared_row_by_row(path: str) -> None:
    stable = _classes(("a", 0.75), ("b", 0.25))[path]
    near = _classes(("a", 0.625), ("b", 0.25))[path]
    flipped = _classes(("a", 0.75), ("a", 0.75))[path]
    assert _compare(path, stable, stable) == AGREED
    assert _compare(path, stable, near) == Comparison(is_agreed=True, is_flip=False, distance=0.125)
    assert _compare(path, stable, flipped) == Comparison(is_agreed=False, is_flip=True, distance=0.5)


@pytest.mark.parametrize("path", PATHS)
def test_numbers_agree_within_one_percent(path: str) -> None:
    stable, near, far = (_values(*rows)[path] for rows in ((100.0, 2.0), (100.5, 2.0), (100.0, 2.5)))
    assert _compare(path, stable, near, is_classifier=False) == Comparison(True, False, 0.5)
    assert _compare(path, stable, far, is_classifier=False) == Comparison(False, False, 0.5)


def test_an_output_that_was_not_asked_for_is_not_compared() -> None:
    path = "/v2/models/m/infer"
    output, prediction = _classes(("a", 0.75))[path]["outputs"]
    assert _compare(path, {"outputs": [output]}, {"outputs": [output]}) == AGREED
    assert _compare(path, {"outputs": [prediction]}, {"outputs": [prediction]}) == AGREED


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("other", [b"", b"{}", b"[1]", b'{"predictions": 3, "outputs": 3}', b"\xff"])
def test_what_is_no_answer_is_an_error(path: str, other: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        compare(path, msgspec.json.encode(_classes(("a", 0.75))[path]), other, is_classifier=True)


@pytest.mark.parametrize("path", PATHS)
def test_answers_with_other_numbers_of_rows_are_an_error(path: str) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        _compare(path, _classes(("a", 0.75))[path], _classes(("a", 0.75), ("a", 0.75))[path])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"rows": [[1, 2, 3]]}),
        ("/invocations", {"instances": [[1, 2, 3]]}),
        (
            "/v2/models/NAME/infer",
            {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_servers_own_answers_are_compared(path: str, body: Any, kind: str, bundle_folder: Path) -> None:
    app = load_app(bundle_folder / kind, "3", ServingSettings())
    path = path.replace("NAME", call(app, "GET", "/model").json["name"])
    answer = call(app, "POST", path, body)
    assert answer.status == 200, answer.body
    assert compare(path, answer.body, answer.body, is_classifier=kind == "classification") == AGREED
    app.close()

"""What a server writes of predictions and outcomes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.asgi import JSON, Response, call
from tests.unit.serving.bundles import TABLE_ROW
from winnow.monitoring.outcomes import join_outcomes
from winnow.routing import PredictionLogSettings
from winnow.serving import prediction_log
from winnow.serving.app import App
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings, SettingError

ROWS = {"rows": [[1, 2, 3]]}


@contextmanager
def logging_app(bundle: Path, file: Path, *, key: bytes | None = None, **settings: Any) -> Iterator[App]:
    log = PredictionLogSettings(to=str(file), deployment="cells", revision=4, **settings)
    app = load_app(bundle, "3", ServingSettings(log=log, api_key=key, max_rows=1000))
    try:
        yield app
    finally:
        app.close()


def lines(file: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(each.pop("time") > 1e9 for each in found)
    return found


def ask(app: App, request_id: str, body: object = ROWS, route: str = "") -> Response:
    mark = {"x-winnow-route": route} if route else {}
    return call(app, "POST", "/predict", body, {**JSON, "x-request-id": request_id, **mark})


def tell(app: App, body: object, **headers: str) -> Response:
    return call(app, "POST", "/feedback", body, {**JSON, **headers})


def test_each_row_is_a_line_with_the_route_of_its_request(bundle_folder: Path, tmp_path: Path) -> None:
    with logging_app(bundle_folder / "classification", tmp_path / "log", fields=("mean radius",)) as app:
        answer = ask(app, "a", {"rows": [[1.1, 2, 3], [None, 2, 9]]}).json
        ask(app, "b", route="7 2 fallback")
        ask(app, "c", route="7 zwei fallback")

    first, second, routed, wrong = lines(tmp_path / "log")
    probabilities = [max(each.values()) for each in answer["probabilities"]]
    whole = {
        "event": "prediction",
        "deployment": "cells",
        "model": "cells",
        "version": "3",
        "revision": 4,
        "route": None,
        "assigned": 4,
        "kind": "assigned",
        "request_id": "a",
        "row": 0,
        "prediction": answer["predictions"][0],
        "probability": probabilities[0],
        "fields": {"mean radius": 1.1},
    }
    assert first == whole
    other = {"row": 1, "prediction": answer["predictions"][1], "probability": probabilities[1]}
    assert second == {**whole, **other, "fields": {"mean radius": None}}
    assert (routed["route"], routed["assigned"], routed["kind"], routed["revision"]) == (7, 2, "fallback", 4)
    assert (wrong["route"], wrong["assigned"], wrong["kind"]) == (None, 4, "assigned")


def test_fields_are_logged_as_they_were_sent(bundle_folder: Path, tmp_path: Path) -> None:
    with logging_app(bundle_folder / "mixed", tmp_path / "log", fields=tuple(TABLE_ROW)) as app:
        ask(app, "a", {"rows": [TABLE_ROW, {**TABLE_ROW, "plan": None, "calls": None}]})

    first, second = lines(tmp_path / "log")
    assert first["fields"] == TABLE_ROW
    assert second["fields"] == {**TABLE_ROW, "plan": None, "calls": None}


def test_numbers_have_no_probability(bundle_folder: Path, tmp_path: Path) -> None:
    with logging_app(bundle_folder / "regression", tmp_path / "log") as app:
        answer = ask(app, "a").json
        assert tell(app, {"request_id": "a", "outcome": answer["predictions"][0]}).status == 202

    prediction, outcome = lines(tmp_path / "log")
    assert (prediction["prediction"], prediction["probability"]) == (answer["predictions"][0], None)
    assert outcome["outcome"] == answer["predictions"][0]


def test_every_server_samples_the_same_requests(bundle_folder: Path, tmp_path: Path) -> None:
    ids = [f"request-{number}" for number in range(400)]
    for name in ("a", "b"):
        with logging_app(bundle_folder / "classification", tmp_path / name, sample=0.25) as app:
            for each in ids:
                ask(app, each)

    found = [[line["request_id"] for line in lines(tmp_path / name)] for name in ("a", "b")]
    assert found[0] == found[1]
    assert 60 < len(found[0]) < 140


def test_outcomes_come_one_by_one_or_many_at_a_time_and_join_with_predictions(
    bundle_folder: Path, tmp_path: Path
) -> None:
    with logging_app(bundle_folder / "classification", tmp_path / "log") as app:
        for request_id in ("a", "b"):
            ask(app, request_id, {"rows": [[1, 2, 3], [9, 2, 1]]})
        one = tell(app, {"request_id": "a", "outcome": "malignant"})
        many = tell(app, [{"request_id": "b", "row": row, "outcome": "benign"} for row in range(2)])
        tell(app, {"request_id": "a", "outcome": "malignant"})

    assert (one.status, one.json["accepted"], many.json["accepted"]) == (202, 1, 2)
    assert one.json["request_id"] == one.headers["x-request-id"]
    (found,) = join_outcomes([str(tmp_path / "log")], "accuracy", place="log").revisions
    assert (found.deployment, found.version, found.counts.requests, found.counts.outcomes) == ("cells", "3", 2, 2)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"{", 400, "Expected JSON in UTF-8"),
        ([], 400, "Expected 1 to 1000 outcomes, found 0."),
        ([{"request_id": "a", "outcome": "benign"}] * 1001, 413, "Expected 1 to 1000 outcomes, found 1001."),
        ({"request_id": "a"}, 400, "missing required field `outcome`"),
        ({"request_id": "a", "outcome": "benign", "label": 1}, 400, "unknown field `label`"),
        ({"request_id": "a", "outcome": None}, 400, "got `null`"),
        ({"request_id": "a", "outcome": ["benign"]}, 400, "got `array`"),
        ({"request_id": "a b", "outcome": "benign"}, 422, "outcomes[0].request_id: expected the id of an answer"),
        ({"request_id": "a", "outcome": "benign", "row": 1000}, 422, "outcomes[0].row: expected 0 to 999"),
        ({"request_id": "a", "outcome": 10**400, "row": -1}, 422, "outcomes[0].row: expected 0 to 999"),
        ({"request_id": "a", "outcome": 1}, 422, 'expected one of the classes "malignant", "benign"'),
        ({"request_id": "a", "outcome": {"malignant": 1}}, 422, 'expected one of the classes "malignant", "benign"'),
    ],
)
def test_wrong_outcomes_are_problems_and_none_of_them_is_kept(
    bundle_folder: Path, tmp_path: Path, body: object, status: int, detail: str
) -> None:
    with logging_app(bundle_folder / "classification", tmp_path / "log") as app:
        answer = tell(app, body)

    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert detail in answer.json["detail"]
    assert (tmp_path / "log").read_text() == ""


def test_targets_are_told_by_name(bundle_folder: Path, tmp_path: Path) -> None:
    with logging_app(bundle_folder / "regression", tmp_path / "log") as app:
        names = list(ask(app, "a").json["predictions"][0])
        wrong = tell(app, {"request_id": "a", "outcome": 3.5})
        infinite = tell(app, {"request_id": "a", "outcome": dict.fromkeys(names, 10**301)})

    assert wrong.json["detail"].startswith("outcomes[0].outcome: expected a number for each of ")
    assert (wrong.status, infinite.status) == (422, 422)


def test_feedback_asks_for_the_key_and_stands_in_the_documentation(bundle_folder: Path, tmp_path: Path) -> None:
    given = {"request_id": "a", "outcome": "benign"}
    with logging_app(bundle_folder / "classification", tmp_path / "log", key=b"secret") as app:
        assert tell(app, given).status == 401
        assert tell(app, given, authorization="Bearer secret").status == 202
        assert call(app, "GET", "/feedback").status == 405
        document = call(app, "GET", "/openapi.json").json
        assert set(document["paths"]["/feedback"]["post"]["responses"]) >= {"202", "401", "422", "429"}
        assert b"winnow_log_lines_total" in call(app, "GET", "/metrics").body


def test_a_server_without_a_log_says_so(bundle_folder: Path) -> None:
    app = load_app(bundle_folder / "classification", "3", ServingSettings())
    answer = tell(app, {"request_id": "a", "outcome": "benign"})
    assert (answer.status, answer.json["detail"]) == (
        404,
        "This server keeps no log of predictions, so it takes no outcomes.",
    )
    assert "/feedback" not in call(app, "GET", "/openapi.json").json["paths"]
    app.close()


def test_a_log_that_cannot_keep_up_drops_predictions_and_refuses_outcomes(
    bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "EVERY_S", 60.0)
    monkeypatch.setattr(prediction_log, "MOST_WAITING_BYTES", 1000)
    with logging_app(bundle_folder / "classification", tmp_path / "log") as app:
        assert [ask(app, str(number)).status for number in range(5)] == [200] * 5
        refused = tell(app, [{"request_id": "a", "outcome": "benign"}] * 5)
        metrics = call(app, "GET", "/metrics").body.decode()

    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "winnow_log_dropped_total 2.0" in metrics
    assert [line["request_id"] for line in lines(tmp_path / "log")] == ["0", "1", "2"]


def test_a_log_that_is_full_or_moved_away_is_written_again_when_it_can_be(bundle_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with logging_app(bundle_folder / "classification", folder / "log") as app:
        folder.rename(tmp_path / "away")
        ask(app, "lost")
        _wait_for(lambda: "winnow_log_dropped_total 1.0" in call(app, "GET", "/metrics").body.decode())
        folder.mkdir()
        ask(app, "kept")

    assert [line["request_id"] for line in lines(folder / "log")] == ["kept"]


def _wait_for(is_done: Any) -> None:
    for _ in range(3000):
        if is_done():
            return
        threading.Event().wait(0.02)
    raise AssertionError("not within 60 s")


def test_a_log_that_no_one_reads_holds_no_request_up(bundle_folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with logging_app(bundle_folder / "classification", tmp_path / "pipe") as app:
        answers = [ask(app, str(number), {"rows": [[1, 2, 3]] * 900}).status for number in range(5)]
        _wait_for(lambda: _taken(app))
        assert ask(app, "more").status == 200
        os.close(reader)  # the writer is freed by the end of its pipe

    assert answers == [200] * 5


def _taken(app: App) -> bool:
    assert app._log is not None
    return not app._log._waiting


@pytest.mark.parametrize(
    ("settings", "found"), [({"fields": ("men radius",)}, "men radius"), ({"to": "/nowhere/log"}, "No such file")]
)
def test_what_cannot_be_logged_stops_the_server_before_it_listens(
    bundle_folder: Path, settings: dict[str, Any], found: str
) -> None:
    with pytest.raises(SettingError, match=found):
        load_app(bundle_folder / "classification", "3", ServingSettings(log=PredictionLogSettings(**settings)))

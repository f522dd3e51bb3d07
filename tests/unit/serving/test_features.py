"""Rows with keys get their features from a feature server, or what is declared for those that do not come."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from tests.feature_server import FeatureServer, serving
from tests.unit.serving import asgi
from tests.unit.serving.asgi import Response
from tests.unit.serving.bundles import COLUMNS, TABLE_ROW
from winnow.routing import FeatureSettings, ReplicaSettings, server_settings
from winnow.serving.app import App
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings, SettingError, from_environment

RADIUS, TEXTURE, ODD = COLUMNS
SENT = {ODD: 3.0}
CELLS = {
    7: {RADIUS: (1.0, "PRESENT"), TEXTURE: (2.0, "PRESENT"), "other": ("x", "PRESENT")},
    "b": {RADIUS: ("NaN", "PRESENT"), TEXTURE: (9.0, "OUTSIDE_MAX_AGE"), "other": (None, "NULL_VALUE")},
}


@pytest.fixture
def server() -> Iterator[FeatureServer]:
    with serving(FeatureServer(CELLS)) as found:
        yield found


def looking_up(bundle: Path, server: FeatureServer, **settings: Any) -> App:
    given = FeatureSettings(**{"url": server.url, "service": "cells", "keys": ("cell",), "timeout_s": 5.0, **settings})
    return load_app(bundle, "3", ServingSettings(features=given))


def predict(app: App, *bodies: list[Any]) -> list[Response]:
    """The answers to rows, one request after the other on one event loop."""

    async def ask() -> list[Response]:
        found = [await asgi.answer(app, "POST", "/predict", {"rows": rows}) for rows in bodies]
        app.close()
        return found

    return asyncio.run(ask())


def metric(app: App, name: str) -> float:
    lines = asgi.call(app, "GET", "/metrics").body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def test_a_key_is_answered_as_its_features_are(bundle_folder: Path, server: FeatureServer) -> None:
    app = looking_up(bundle_folder / "classification", server)
    plain, keyed, mixed = predict(
        app, [[1, 2, 3]], [{"cell": 7, **SENT}], [[1, 2, 3], {"cell": 7, RADIUS: 5.0, **SENT}, {"cell": 7, **SENT}]
    )
    assert keyed.json["probabilities"] == plain.json["probabilities"]
    assert keyed.json.keys() == plain.json.keys()
    first, overridden, last = mixed.json["probabilities"]
    assert first == last != overridden
    assert server.asked == [
        {"path": "/get-online-features", "feature_service": "cells", "entities": {"cell": [7]}},
        {"path": "/get-online-features", "feature_service": "cells", "entities": {"cell": [7, 7]}},
    ]
    assert server.connections == 1
    assert metric(app, 'winnow_feature_lookups_total{outcome="found"}') == 2
    assert metric(app, "winnow_feature_lookup_seconds_count") == 2


def test_values_that_do_not_come_are_refused_with_their_rows_and_reasons(
    bundle_folder: Path, server: FeatureServer
) -> None:
    [answer] = predict(
        looking_up(bundle_folder / "classification", server), [{"cell": 8, **SENT}, {"cell": "b", **SENT}]
    )
    assert (answer.status, answer.json["type"]) == (422, "/docs#invalid-input")
    assert [(each["row"], each["column"], each["detail"]) for each in answer.json["errors"]] == [
        (0, RADIUS, f'rows[0]: column "{RADIUS}": the feature store does not know its keys'),
        (0, TEXTURE, f'rows[0]: column "{TEXTURE}": the feature store does not know its keys'),
        (1, RADIUS, f'rows[1]: column "{RADIUS}": its value in the feature store is missing'),
        (1, TEXTURE, f'rows[1]: column "{TEXTURE}": its value in the feature store is too old'),
    ]


def test_a_fallback_takes_their_place_and_the_answer_and_the_metrics_say_so(
    bundle_folder: Path, server: FeatureServer
) -> None:
    app = looking_up(bundle_folder / "classification", server, fallback={RADIUS: 1.0, TEXTURE: 2.0})
    plain, keyed = predict(app, [[1, 2, 3]], [{"cell": 7, **SENT}, {"cell": 8, **SENT}, {"cell": "b", **SENT}])
    assert keyed.json["probabilities"] == plain.json["probabilities"] * 3
    assert keyed.json["fallback"] == [
        {"column": RADIUS, "reason": "not_found", "rows": [1]},
        {"column": TEXTURE, "reason": "not_found", "rows": [1]},
        {"column": RADIUS, "reason": "null", "rows": [2]},
        {"column": TEXTURE, "reason": "too_old", "rows": [2]},
    ]
    assert metric(app, 'winnow_feature_fallbacks_total{reason="not_found"}') == 2
    assert metric(app, 'winnow_feature_fallbacks_total{reason="timeout"}') == 0


def test_missing_values_may_be_the_fallback_of_all_features(bundle_folder: Path, server: FeatureServer) -> None:
    app = looking_up(bundle_folder / "classification", server, fallback="missing")
    plain, keyed = predict(app, [[None, None, 3]], [{"cell": 8, **SENT}])
    assert keyed.json["probabilities"] == plain.json["probabilities"]


@pytest.mark.parametrize(
    ("changes", "kind", "status"),
    [
        ({"status": 500}, "features-unavailable", 503),
        ({"body": b"no json"}, "features-unavailable", 503),
        ({"body": b'{"metadata": {"feature_names": ["a"]}, "results": []}'}, "features-unavailable", 503),
        ({"url": "http://127.0.0.1:1"}, "features-unavailable", 503),
        ({"is_slow": True}, "features-timeout", 504),
    ],
)
def test_a_server_that_is_away_late_or_broken_ends_in_a_problem_or_the_fallback_at_once(
    bundle_folder: Path, server: FeatureServer, changes: dict[str, Any], kind: str, status: int
) -> None:
    if changes.pop("is_slow", False):
        server.delay.clear()
    for name, value in changes.items():
        setattr(server, name, value)
    started = time.monotonic()
    bundle = bundle_folder / "classification"
    [refused] = predict(looking_up(bundle, server, timeout_s=0.3), [{"cell": 7, **SENT}])
    app = looking_up(bundle, server, timeout_s=0.3, fallback={RADIUS: 1.0, TEXTURE: 2.0})
    plain, filled = predict(app, [[1, 2, 3]], [{"cell": 7, **SENT}])
    assert time.monotonic() - started < 5
    assert (refused.status, refused.json["type"], refused.headers["retry-after"]) == (status, f"/docs#{kind}", "1")
    assert filled.json["probabilities"] == plain.json["probabilities"]
    reason = kind.removeprefix("features-")
    assert [each["reason"] for each in filled.json["fallback"]] == [reason, reason]
    assert metric(app, f'winnow_feature_lookups_total{{outcome="{reason}"}}') == 1


def test_wrong_keys_are_refused_before_the_server_is_asked(bundle_folder: Path, server: FeatureServer) -> None:
    app = looking_up(bundle_folder / "classification", server, keys=("cell", "plate"))
    [answer] = predict(app, [{"cell": 7, "plate": True, **SENT}, {"plate": 1, **SENT}])
    assert [each["detail"] for each in answer.json["errors"]] == [
        'rows[0]: key "plate": expected a text or a number, found true or false',
        'rows[1]: key "cell": expected it in every row that has a key, found none',
    ]
    assert server.asked == []


@pytest.mark.parametrize(
    ("kind", "key", "expected", "found"),
    [
        ("int64", "7", "a whole number of 64 bits", "a string"),
        ("int64", 7.5, "a whole number of 64 bits", "another number"),
        ("int64", 2**63, "a whole number of 64 bits", "another number"),
        ("int32", 2**31, "a whole number of 32 bits", "another number"),
        ("string", 7, "a text", "a number"),
        ("double", "7", "a number", "a string"),
        ("double", 10**400, "a number", "another number"),
        ("boolean", 1, "true or false", "a number"),
        (None, True, "a text or a number", "true or false"),
        (None, 2**63, "a text or a number", "another number"),
        (None, None, "a text or a number", "null"),
    ],
)
def test_a_key_of_another_kind_than_the_service_has_is_the_callers_fault(
    bundle_folder: Path, server: FeatureServer, kind: Any, key: Any, expected: str, found: str
) -> None:
    kinds = UNSET if kind is None else {"cell": kind}
    app = looking_up(bundle_folder / "classification", server, kinds=kinds, fallback="missing")
    body = json.dumps({"rows": [{"cell": 7, **SENT}, {"cell": key, **SENT}]}).encode()
    answer = asgi.call(app, "POST", "/predict", body)
    assert (answer.status, answer.json["type"]) == (422, "/docs#invalid-input")
    assert f'rows[1]: key "cell": expected {expected}, found {found}' in [
        each["detail"] for each in answer.json["errors"]
    ]
    assert server.asked == []


def test_keys_of_the_services_kinds_are_sent_as_feast_takes_them(bundle_folder: Path, server: FeatureServer) -> None:
    for kind, keys in {"int64": [7, 7.0, -(2**63)], "double": [7, 0.5], "string": ["b"], "boolean": [True]}.items():
        app = looking_up(bundle_folder / "classification", server, kinds={"cell": kind}, fallback="missing")
        [answer] = predict(app, [{"cell": key, **SENT} for key in keys])
        assert answer.status == 200
        assert repr(server.asked[-1]["entities"]["cell"]) == repr(keys).replace("7.0", "7")


def test_a_number_beyond_float64_is_refused_beside_keys_as_without_them(
    bundle_folder: Path, server: FeatureServer
) -> None:
    app = looking_up(bundle_folder / "classification", server)
    body = json.dumps({"rows": [{"cell": 7, ODD: 0}]}).replace(": 0}", ": 1e400}")

    async def ask() -> Response:
        found = await asgi.answer(app, "POST", "/predict", body.encode())
        app.close()
        return found

    answer = asyncio.run(ask())
    assert (answer.status, answer.json["column"]) == (422, ODD)


def test_a_column_that_is_no_feature_has_to_be_sent(bundle_folder: Path, server: FeatureServer) -> None:
    [answer] = predict(looking_up(bundle_folder / "classification", server), [{"cell": 7}])
    assert (answer.status, answer.json["errors"][0]["column"]) == (422, ODD)


def test_a_key_may_be_a_column_of_the_model_too(bundle_folder: Path, server: FeatureServer) -> None:
    app = looking_up(bundle_folder / "classification", server, keys=(ODD,))
    server.values = {3: CELLS[7]}
    plain, keyed = predict(app, [[1, 2, 3]], [{ODD: 3}])
    assert keyed.json["probabilities"] == plain.json["probabilities"]


def test_times_and_texts_are_as_in_a_request(bundle_folder: Path, server: FeatureServer) -> None:
    stored = {**{name: (value, "PRESENT") for name, value in TABLE_ROW.items()}, "last seen": (1795253400, "PRESENT")}
    server.values = {"ada": {name: stored[name] for name in TABLE_ROW if name != "spent"}}
    app = looking_up(bundle_folder / "mixed", server, keys=("user",))
    plain, keyed = predict(app, [TABLE_ROW], [{"user": "ada", "spent": TABLE_ROW["spent"]}])
    assert plain.status == 200
    assert {**keyed.json, "request_id": ""} == {**plain.json, "request_id": ""}


def test_a_stored_time_that_is_none_counts_as_missing(bundle_folder: Path, server: FeatureServer) -> None:
    stored = {**{name: (value, "PRESENT") for name, value in TABLE_ROW.items()}, "last seen": (10**15, "PRESENT")}
    server.values = {"ada": {name: stored[name] for name in TABLE_ROW if name != "spent"}}
    app = looking_up(bundle_folder / "mixed", server, keys=("user",))
    [answer] = predict(app, [{"user": "ada", "spent": TABLE_ROW["spent"]}])
    assert (answer.status, answer.json["column"]) == (422, "last seen")
    assert answer.json["detail"] == 'rows[0]: column "last seen": its value in the feature store is missing'


def test_bodies_without_keys_ask_nothing_and_are_refused_as_before(bundle_folder: Path, server: FeatureServer) -> None:
    app = looking_up(bundle_folder / "classification", server)
    told = [{**dict.fromkeys(COLUMNS, 1.0), RADIUS: '"cell"'}]
    [answer] = predict(app, told)
    assert answer.status == 422 and "expected a number" in answer.json["detail"]
    assert server.asked == []


def test_a_fallback_names_columns_of_the_model(bundle_folder: Path, server: FeatureServer) -> None:
    with pytest.raises(SettingError, match=r"features\.fallback: expected columns among .*, found 'size'"):
        looking_up(bundle_folder / "classification", server, fallback={"size": 1})
    with pytest.raises(SettingError, match="features: expected a model with named columns"):
        looking_up(bundle_folder / "tensors", server)


def test_replicas_get_the_settings_and_routers_do_not() -> None:
    settings = ReplicaSettings(features=FeatureSettings("http://features:6566", "cells", ("cell",), 0.2, {"a": None}))
    assert from_environment({"WINNOW_SERVING": server_settings(settings)}).features == settings.features
    assert from_environment({"WINNOW_SERVING": server_settings(settings.of_routers)}).features is None
    kinds = ReplicaSettings(
        features=FeatureSettings("http://features:6566", "cells", ("cell",), kinds={"cell": "int64"})
    )
    assert from_environment({"WINNOW_SERVING": server_settings(kinds)}).features == kinds.features
    assert '"kinds"' not in server_settings(settings)
    assert '"features"' not in server_settings(ReplicaSettings())  # servers of earlier images do not know it
    with pytest.raises(SettingError, match="features in WINNOW_SERVING"):
        from_environment({"WINNOW_SERVING": '{"features": {"url": 1}}'})

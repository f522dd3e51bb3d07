from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from winnow.routing import PredictionLogSettings, ReplicaSettings, server_settings, to_json
from winnow.serving.settings import ServingSettings, SettingError, from_environment


def test_an_empty_environment_gives_the_defaults() -> None:
    assert from_environment({}) == ServingSettings()
    assert from_environment({"WINNOW_MAX_ROWS": "", "WINNOW_API_KEY": ""}) == ServingSettings()


def test_every_setting_has_a_variable(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from file\n")
    found = from_environment(
        {
            "WINNOW_MAX_BODY_BYTES": "1000",
            "WINNOW_MAX_ROWS": "10",
            "WINNOW_SETTLE_S": "0.5",
            "WINNOW_DRAIN_S": "9",
            "WINNOW_ACCESS_LOG": "1",
            "WINNOW_MAX_HEADER_BYTES": "2000",
            "WINNOW_MAX_CONNECTIONS": "20",
            "WINNOW_MAX_INFLIGHT_BYTES": "3000",
            "WINNOW_HEADER_TIMEOUT_S": "1.5",
            "WINNOW_BODY_TIMEOUT_S": "2.5",
            "WINNOW_API_KEY": "not this one",
            "WINNOW_API_KEY_FILE": str(tmp_path / "key"),
        }
    )
    assert found == ServingSettings(1000, 10, 0.5, 9.0, True, b"from file", 2000, 20, 3000, 1.5, 2.5)


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="WINNOW_MAX_ROWS: expected a number of at least 1"):
        from_environment({"WINNOW_MAX_ROWS": text})


def test_the_largest_body_has_room_among_those_in_flight() -> None:
    assert from_environment({"WINNOW_MAX_BODY_BYTES": "1000"}).max_inflight_bytes == 4000
    with pytest.raises(SettingError, match="WINNOW_MAX_INFLIGHT_BYTES: expected a number of at least 1000"):
        from_environment({"WINNOW_MAX_BODY_BYTES": "1000", "WINNOW_MAX_INFLIGHT_BYTES": "999"})


def test_a_key_may_stand_in_the_environment_itself() -> None:
    assert from_environment({"WINNOW_API_KEY": "secret\n"}).api_key == b"secret"


def test_a_key_file_has_to_hold_a_key(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for path in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(SettingError, match="WINNOW_API_KEY_FILE"):
            from_environment({"WINNOW_API_KEY_FILE": str(path)})


def test_a_deployer_gives_a_server_the_settings_of_a_revision_at_once(tmp_path: Path) -> None:
    settings = ReplicaSettings(drain_s=9, limits={"max_rows": 10, "body_timeout_s": 2.5}, is_access_logged=True)
    text = server_settings(settings, settle_s=5)
    assert text == '{"body_timeout_s":2.5,"drain_s":9,"is_access_logged":true,"max_rows":10,"settle_s":5}'
    assert server_settings(msgspec.json.decode(to_json(settings), type=ReplicaSettings), settle_s=5) == text
    wanted = ServingSettings(max_rows=10, settle_s=5, drain_s=9, is_access_logged=True, body_timeout_s=2.5)
    assert from_environment({"WINNOW_SERVING": text}) == wanted
    (tmp_path / "serving.json").write_text(text)
    assert from_environment({"WINNOW_SERVING_FILE": str(tmp_path / "serving.json")}) == wanted


def test_settings_given_at_once_override_single_variables() -> None:
    found = from_environment({"WINNOW_SERVING": '{"max_rows": 10}', "WINNOW_MAX_ROWS": "20", "WINNOW_DRAIN_S": "9"})
    assert found == ServingSettings(max_rows=10, drain_s=9)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"max_rows": 0}', "max_rows in WINNOW_SERVING: expected a number of at least 1, found 0"),
        ('{"max_rows": true}', "max_rows in WINNOW_SERVING: expected a number of at least 1, found True"),
        ('{"is_access_logged": 1}', "is_access_logged in WINNOW_SERVING: expected true or false, found 1"),
        ('{"rows": 1}', "WINNOW_SERVING: expected keys among body_timeout_s, drain_s, .*, found 'rows'"),
        ('{"max_rows": "10"}', "WINNOW_SERVING: expected a JSON object of numbers, booleans, `log` and `features`"),
        ("[]", "WINNOW_SERVING: expected a JSON object of numbers, booleans, `log` and `features`"),
    ],
)
def test_wrong_settings_given_at_once_are_refused(text: str, error: str) -> None:
    with pytest.raises(SettingError, match=error):
        from_environment({"WINNOW_SERVING": text})


def test_a_missing_file_of_settings_is_refused() -> None:
    with pytest.raises(SettingError, match="WINNOW_SERVING_FILE: expected a readable file, found '/none'"):
        from_environment({"WINNOW_SERVING_FILE": "/none"})


def test_a_log_is_given_with_the_replicas_own_names_and_never_to_routers() -> None:
    settings = ReplicaSettings(log=PredictionLogSettings(sample=0.1, fields=("age",)))
    found = from_environment({"WINNOW_SERVING": server_settings(settings, deployment="cells", revision=3)})
    assert found.log == PredictionLogSettings(0.1, ("age",), "stdout", "cells", 3)
    assert from_environment({"WINNOW_SERVING": server_settings(settings.of_routers)}).log is None
    assert '"log"' not in server_settings(ReplicaSettings())  # servers of earlier images do not know it

"""From the section `serving` to what deployers are given, and the variables that it replaces."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.serving import KeyConfig, ServingConfig
from winnow.orchestrators.serving_settings import (
    KEEP,
    KEYS,
    ServedSettings,
    fingerprint,
    key_of,
    refuse_old_variables,
    served,
)
from winnow.routing import Entry, PredictionLogSettings, ReplicaSettings, Scale

CONFIG = ServingConfig.model_validate(
    {
        "replicas": 2,
        "resources": {"cpu": "500m", "memory": "512Mi"},
        "host": "*.example.com",
        "limits": {"max_rows": 10},
        "drain_s": 9,
        "rollout": "canary",
        "stages": {"staging": {"replicas": 1, "autoscale": None, "history": 1, "rollout": {"routers": 1}}},
    }
)


def test_an_empty_section_gives_the_defaults_of_the_values() -> None:
    found = served(ServingConfig(), "wine")
    assert (found.name, found.replicas, found.entry) == ("wine", ReplicaSettings(), Entry())
    assert found.scale == Scale(1, most=2)
    assert (found.history, found.routers, found.rollout.strategy) == (3, 2, "rolling")


def test_a_deployment_has_the_settings_of_the_file() -> None:
    assert served(CONFIG, "wine", has_ingress=True) == ServedSettings(
        "wine",
        ReplicaSettings(cpus=0.5, memory_bytes=512 * 2**20, drain_s=9.0, limits={"max_rows": 10.0}),
        Scale(2, most=4),
        Entry(host="wine.example.com"),
        None,
        CONFIG.rollout,
        history=3,
        routers=2,
    )


def test_a_log_is_a_setting_of_replicas_and_a_file_needs_replicas_on_this_machine() -> None:
    config = ServingConfig.model_validate({"log": "/var/log/wine.jsonl"})
    assert served(config, "wine").replicas.log == PredictionLogSettings(to="/var/log/wine.jsonl")
    with pytest.raises(InputError, match="expected `stdout`, because replicas in containers have files of their own"):
        served(config, "wine", shares_files=False)


def test_a_stage_is_a_deployment_of_its_own() -> None:
    found = served(CONFIG, "wine", "staging", has_ingress=True)
    assert (found.name, found.entry.host) == ("wine-staging", "wine-staging.example.com")
    assert (found.scale, found.history, found.routers) == (Scale(1), 1, 1)
    assert (found.replicas, found.rollout.strategy) == (served(CONFIG, "wine").replicas, "canary")


def test_flags_override_the_file() -> None:
    found = served(CONFIG, "wine", replicas=5, host="0.0.0.0", port=8000)
    assert (found.scale, found.entry) == (Scale(5, most=10), Entry(host="0.0.0.0", port=8000))


@pytest.mark.parametrize(
    ("given", "flag", "elsewhere", "on_a_cluster"),
    [
        (None, None, "", ""),
        ("a.example.com", None, "", "a.example.com"),
        ("0.0.0.0", None, "0.0.0.0", ""),
        ("a.example.com", "b.example.com", "b.example.com", "b.example.com"),
        ("a.example.com", "127.0.0.1", "127.0.0.1", ""),
        ("a.example.com", "localhost", "localhost", ""),
    ],
)
def test_one_file_serves_on_this_machine_and_behind_an_ingress(
    given: str | None, flag: str | None, elsewhere: str, on_a_cluster: str
) -> None:
    config = ServingConfig(host=given)
    assert served(config, "wine", host=flag).entry.host == elsewhere
    assert served(config, "wine", host=flag, has_ingress=True).entry.host == on_a_cluster


def test_wrong_flags_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected one of staging, found 'stagin'. Did you mean"):
        served(CONFIG, "wine", "stagin")
    with pytest.raises(InputError, match=r"expected staging, or a stage of `serving.stages`, found 'a'"):
        served(ServingConfig(), "wine", "a")
    with pytest.raises(InputError, match="expected 1 or more, found 0"):
        served(CONFIG, "wine", replicas=0)
    with pytest.raises(InputError, match=r"expected the host name of an Ingress, .* found the address 10.0.0.1"):
        served(CONFIG, "wine", host="10.0.0.1", has_ingress=True)


@pytest.mark.parametrize(
    ("config", "environment", "key"),
    [
        (None, {}, KEEP),
        (None, {"WINNOW_API_KEY": "a"}, "a"),
        (None, {"WINNOW_API_KEY": ""}, None),
        (None, {"WINNOW_API_KEY": "a", "WINNOW_API_KEY_FILE": "{file}"}, "of the file"),
        (KeyConfig(env="MINE"), {"MINE": "b", "WINNOW_API_KEY": "a"}, "b"),
        (KeyConfig(file="{file}"), {"WINNOW_API_KEY": "a"}, "of the file"),
    ],
)
def test_the_api_key_is_that_of_the_file_else_of_the_environment_else_it_stays(
    config: KeyConfig | None, environment: Mapping[str, str], key: object, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("of the file\n")
    given = {name: value.replace("{file}", str(tmp_path / "key")) for name, value in environment.items()}
    if config is not None and config.file:
        config = KeyConfig(file=str(tmp_path / "key"))
    assert key_of(config, given) == key


@pytest.mark.parametrize("environment", [{}, {"MINE": ""}])
def test_a_key_that_the_file_names_has_to_be_there(environment: Mapping[str, str]) -> None:
    with pytest.raises(InputError, match=r"serving.api_key.env: expected the environment variable MINE"):
        key_of(KeyConfig(env="MINE"), environment)
    with pytest.raises(InputError, match=r"serving.api_key.file: expected a readable file .* \(no such file"):
        key_of(KeyConfig(file="/none"), environment)


def test_a_fingerprint_tells_keys_of_one_deployment_apart_and_shows_none() -> None:
    found = fingerprint("wine", "secret")
    assert (len(found), found == fingerprint("wine", "secret")) == (16, True)
    assert (
        len({found, fingerprint("wine", "other"), fingerprint("wine-staging", "secret"), fingerprint("wine", None)})
        == 4
    )
    assert fingerprint("wine", None) == ""


def test_old_variables_are_refused_all_at_once_with_their_keys(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WINNOW_MAX_ROWS=10\nWINNOW_DB_PASSWORD=x\n")
    with pytest.raises(InputError) as caught:
        refuse_old_variables({"WINNOW_REPLICA_CPUS": "1", "WINNOW_HOME": "/x"}, tmp_path)
    assert f"found WINNOW_REPLICA_CPUS, WINNOW_MAX_ROWS in {tmp_path}/.env." in str(caught.value)
    assert "`serving.resources.cpu` for WINNOW_REPLICA_CPUS, `serving.limits.max_rows` for" in str(caught.value)


def test_variables_that_say_where_things_are_stay(tmp_path: Path) -> None:
    stay = (
        "INGRESS_URL",
        "PROXY_IMAGE",
        "HOME",
        "PROJECT",
        "NAMESPACE",
        "CONTEXT",
        "REGISTRY",
        "API_KEY",
        "API_KEY_FILE",
    )
    refuse_old_variables({**{f"WINNOW_{name}": "x" for name in stay}, "WINNOW_MAX_ROWS": ""}, tmp_path)


def test_every_old_variable_has_a_key_that_exists() -> None:
    for key in KEYS.values():
        value: object = ServingConfig().model_dump()
        for part in key.split(".")[1:]:
            assert isinstance(value, dict)
            value = value[part]

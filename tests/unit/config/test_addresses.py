"""Addresses: their drivers and passwords."""

from __future__ import annotations

import httpx
import pytest

from winnow.config.addresses import own_addresses_directly, shown_value, with_driver, with_password, without_password
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.orchestrators.groups import with_kept_secrets


def test_a_plain_address_gets_the_driver_that_is_installed() -> None:
    assert with_driver("postgresql://u:p@host/db") == "postgresql+psycopg://u:p@host/db"
    assert with_driver("postgres://host/db") == "postgresql+psycopg://host/db"
    assert with_driver("mysql://host/db") == "mysql+pymysql://host/db"
    assert with_driver("postgresql+psycopg2://host/db") == "postgresql+psycopg2://host/db"
    assert with_driver("sqlite:///a.db") == "sqlite:///a.db"


def test_a_password_comes_before_the_host() -> None:
    assert with_password("postgresql://me@host:1/db", "a-b") == "postgresql://me:a-b@host:1/db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a@b:c@h:1/d", "postgresql://me:***@h:1/d"),
        ("postgresql://me@h/d", "postgresql://me@h/d"),
        ("postgresql://me:a/b@h/d", "postgresql://me:***@h/d"),
        ("postgresql://h/d?user=me&password=a", "postgresql://h/d?user=me&password=***"),
        ("http://h:5000", "http://h:5000"),
        ("sqlite:////srv/a:b@c.db", "sqlite:////srv/a:b@c.db"),
        ("studies.db", "studies.db"),
        ("one=http://a:b@c two=http://d:e@f", "one=http://a:***@c two=http://d:***@f"),
        ("postgresql://me:s3/c@r@et@db/studies", "postgresql://me:***@db/studies"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("API_TOKEN", "abc", "***"),
        ("WANDB_API_KEY", "abc", "***"),
        ("AWS_SECRET_ACCESS_KEY", "abc", "***"),
        ("DB_PASSWORD", "abc", "***"),
        ("DATABASE_URL", "postgresql://me:abc@host/db", "postgresql://me:***@host/db"),
        ("TOKENIZERS_PARALLELISM", "false", "false"),
        ("MAX_TOKENS", "10", "10"),
        ("OMP_NUM_THREADS", "2", "2"),
        ("API_TOKEN", "", ""),
    ],
)
def test_a_value_is_starred_where_its_name_is_that_of_a_secret(name: str, value: str, shown: str) -> None:
    assert shown_value(name, value) == shown


def test_an_experiment_is_kept_without_the_secrets_of_its_environment() -> None:
    experiment = Experiment.model_validate(
        {
            "name": "kept",
            "data": {"source": "sklearn:iris"},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": {}, "metric": {"name": "f1"}},
            "execution": {"env": {"API_TOKEN": "abc", "URL": "http://me:abc@host", "MODE": "fast"}},
        }
    )
    assert experiment.without_secrets().execution.env == {
        "API_TOKEN": "***",
        "URL": "http://me:***@host",
        "MODE": "fast",
    }
    assert experiment.execution.env["API_TOKEN"] == "abc"
    kept = experiment.without_secrets().execution
    shell = {"API_TOKEN": "abc", "URL": "http://me:abc@host"}
    assert with_kept_secrets(kept, shell) == experiment.execution
    with pytest.raises(InputError, match="Export URL with the value from the experiment file"):
        with_kept_secrets(kept, {"API_TOKEN": "abc"})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "localhost,.localhost,127.0.0.1,::1,0.0.0.0"),
        ({"NO_PROXY": "example.com, 127.0.0.1"}, "example.com,127.0.0.1,localhost,.localhost,::1,0.0.0.0"),
        ({"no_proxy": "*"}, None),
    ],
)
def test_this_machines_own_addresses_are_asked_without_a_proxy(given: dict[str, str], expected: str | None) -> None:
    found = own_addresses_directly({"HTTP_PROXY": "http://127.0.0.1:9", **given})
    assert found == ({} if expected is None else {"no_proxy": expected, "NO_PROXY": expected})


def test_httpx_accepts_the_addresses_that_need_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in own_addresses_directly({}).items():
        monkeypatch.setenv(name, value)

    httpx.Client().close()

"""Which settings a stack is started with: flags, else the environment."""

from __future__ import annotations

import pytest

from winnow.config.errors import InputError
from winnow.orchestrators.stack import overriding, settings_given, which_given

ENVIRONMENT = {
    "MLFLOW_PORT": "5600",
    "POSTGRES_CPUS": "2",
    "STORAGE_CLASS": "",
    "WORKER_EGRESS": "none",
    "AWS_ACCESS_KEY_ID": "a-key",
    "HOME": "/home/a",
}


def test_what_is_typed_wins_over_the_environment() -> None:
    assert settings_given("docker", {"MLFLOW_PORT": "5700"}, environment=ENVIRONMENT) == {
        "MLFLOW_PORT": "5700",
        "POSTGRES_CPUS": "2",
        "AWS_ACCESS_KEY_ID": "a-key",
    }


def test_a_variable_for_another_platform_is_passed_over() -> None:
    assert settings_given("kubernetes", {}, environment=ENVIRONMENT) == {
        "POSTGRES_CPUS": "2",
        "WORKER_EGRESS": "none",
        "AWS_ACCESS_KEY_ID": "a-key",
    }


def test_an_empty_flag_is_kept_since_it_means_the_default_again() -> None:
    assert settings_given("docker", {"POSTGRES_CPUS": ""}, environment=ENVIRONMENT)["POSTGRES_CPUS"] == ""


def test_a_flag_for_another_platform_is_refused() -> None:
    with pytest.raises(InputError, match="MLFLOW_PORT: expected a setting of the stack on Kubernetes"):
        settings_given("kubernetes", {"MLFLOW_PORT": "5600"}, environment={})


def test_a_setting_that_no_stack_has_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"MLFLOW_PROT: expected a setting of the stack.*Did you mean MLFLOW_PORT\?"):
        settings_given("docker", {"MLFLOW_PROT": "5600"}, environment={})


def test_secrets_alone_take_their_own_settings_and_keys() -> None:
    assert settings_given("kubernetes", {}, ("STORAGE_CLASS",), ENVIRONMENT) == {"AWS_ACCESS_KEY_ID": "a-key"}


def test_a_stack_is_named_by_its_project_and_its_environment_file() -> None:
    environment = {"WINNOW_PROJECT": "one", "WINNOW_ENV_FILE": "one.env", "MLFLOW_PORT": "5600"}
    assert which_given("two", None, environment) == {"WINNOW_PROJECT": "two", "WINNOW_ENV_FILE": "one.env"}


def test_addresses_that_were_not_given_to_the_stack_win_over_it() -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://x", "WINNOW_STORAGE": "postgresql://x"}
    assert overriding({"WINNOW_STORAGE": "postgresql://x"}, environment) == ("MLFLOW_TRACKING_URI",)

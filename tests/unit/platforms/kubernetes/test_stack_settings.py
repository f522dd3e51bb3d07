"""What is set of a stack on a cluster, and how it comes together with what the Secret keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count

import pytest

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.stack_settings import (
    Chosen,
    choose,
    storage_url,
    tracking_url,
)

FRESH = {
    "POSTGRES_PASSWORD": "generated-1",
    "MLFLOW_DB_PASSWORD": "generated-2",
    "WINNOW_DB_PASSWORD": "generated-3",
    "MINIO_ROOT_PASSWORD": "generated-4",
    "MINIO_ROOT_USER": "winnow",
    "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://mlflow:generated-2@winnow-postgres:5432/mlflow",
    "AWS_ACCESS_KEY_ID": "winnow",
    "AWS_SECRET_ACCESS_KEY": "generated-4",
}


def passwords() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"generated-{next(numbers)}"


def chosen(given: Mapping[str, str] | None = None, secret: Mapping[str, str] | None = None) -> Chosen:
    return choose(given or {}, secret, passwords())


def test_without_settings_there_are_passwords_and_all_three_services() -> None:
    found = chosen()
    assert found == Chosen({}, FRESH)
    assert (found.has_postgres, found.has_own_artifacts, found.own_storage) == (True, False, None)


def test_passwords_that_are_there_stay() -> None:
    assert chosen(secret=FRESH) == Chosen({}, FRESH)
    theirs = {**FRESH, "POSTGRES_PASSWORD": "my-own-one"}
    assert chosen(secret=theirs).secret == theirs


def test_what_was_set_is_kept_in_the_secret_and_an_empty_value_brings_the_default_back() -> None:
    first = chosen({"MLFLOW_WORKERS": "4", "MINIO_MEMORY": "2g"})
    assert json.loads(first.secret["settings"]) == {"MINIO_MEMORY": "2g", "MLFLOW_WORKERS": "4"}
    assert chosen(secret=first.secret) == first
    assert chosen({"MLFLOW_WORKERS": ""}, first.secret).settings == {"MINIO_MEMORY": "2g"}


def test_an_own_artifact_store_never_sees_minio_s_key() -> None:
    found = chosen({"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine"}, FRESH)
    assert found.has_own_artifacts
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & set(found.secret)


KEY = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
ACCOUNT = """\
kind: Deployment
metadata: {name: winnow-mlflow}
spec: {template: {spec: {serviceAccountName: winnow-stack}}}
"""


def test_the_pods_identity_is_not_overridden_by_a_shell_s_key() -> None:
    given = {"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine", **KEY}
    before = chosen(given, FRESH)
    assert before.secret["AWS_SESSION_TOKEN"] == "t"
    found = chosen({**given, "TRACKING_OVERLAY": ACCOUNT}, before.secret)
    assert not set(KEY) & set(found.secret)
    names = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
    assert found.unused == f"{names} of this shell: MLflow has the ServiceAccount winnow-stack"
    assert chosen({}, found.secret) == Chosen(found.settings, found.secret)


def test_another_s3_service_is_opened_by_its_key_whatever_account_the_pod_has() -> None:
    given = {"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine", "MLFLOW_S3_ENDPOINT_URL": "https://s3.example.com"}
    found = chosen({**given, **KEY, "TRACKING_OVERLAY": ACCOUNT}, FRESH)
    assert (found.unused, found.secret["AWS_ACCESS_KEY_ID"]) == ("", "me")


def test_an_empty_key_makes_the_stack_forget_the_kept_one() -> None:
    first = chosen({"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine", **KEY}, FRESH)
    assert not set(KEY) & set(chosen(dict.fromkeys(KEY, ""), first.secret).secret)


def test_keys_of_another_store_are_not_kept() -> None:
    found = chosen({"MLFLOW_ARTIFACTS_DESTINATION": "gs://mine", "AWS_DEFAULT_REGION": "eu-1", **KEY}, FRESH)
    assert not set(KEY) & set(found.secret)
    assert found.settings == {"MLFLOW_ARTIFACTS_DESTINATION": "gs://mine"}


def test_keys_of_an_own_artifact_store_are_kept_and_give_way_to_minio_s_when_it_is_given_up() -> None:
    given = {"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s"}
    first = chosen({**given, "MLFLOW_S3_ENDPOINT_URL": "https://s3.example.com"}, FRESH)
    assert chosen({}, first.secret) == first
    assert chosen({"MLFLOW_ARTIFACTS_DESTINATION": ""}, first.secret) == Chosen({}, FRESH)


def test_keys_of_the_caller_s_environment_are_not_taken_for_minio_s() -> None:
    assert chosen({"AWS_ACCESS_KEY_ID": "me", "AWS_DEFAULT_REGION": "eu-1"}) == Chosen({}, FRESH)


def test_databases_of_one_s_own_need_no_postgres_and_stand_in_the_secret_alone() -> None:
    given = {
        "MLFLOW_BACKEND_STORE_URI": "postgresql://me:hidden@db/mlflow",
        "WINNOW_STORAGE": "postgresql://me:hidden@db/winnow",
    }
    found = chosen(given)
    assert (found.settings, found.has_postgres) == ({}, False)
    assert found.secret["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://me:hidden@db/mlflow"
    assert found.own_storage == "postgresql+psycopg://me:hidden@db/winnow"
    assert "hidden" not in repr(found)
    assert chosen({}, found.secret) == found
    assert chosen({"WINNOW_STORAGE": "", "MLFLOW_BACKEND_STORE_URI": ""}, found.secret).secret == FRESH


def test_workers_may_reach_one_s_own_database_elsewhere() -> None:
    found = chosen({"WINNOW_STORAGE": "postgresql://db/w", "WINNOW_WORKER_STORAGE": "postgresql://inside/w"})
    assert found.own_storage == "postgresql+psycopg://inside/w"


def test_an_address_brings_the_extra_that_the_image_needs() -> None:
    assert chosen({"MLFLOW_BACKEND_STORE_URI": "mysql://me@db/m"}).extras == ["mysql"]
    assert chosen({"MLFLOW_ARTIFACTS_DESTINATION": "gs://mine", "EXTRAS": "mysql"}).extras == ["gcs", "mysql"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_WORKERS", "many"),
        ("MLFLOW_BACKEND_STORE_URI", "sqlite:////winnow/mlflow.db"),
        ("MLFLOW_BACKEND_STORE_URI", "postgresql://me:secret@localhost/mlflow"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "/winnow/artifacts"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "mlartifacts"),
        ("MINIO_MEMORY", "much"),
        ("POSTGRES_CPUS", "half"),
        ("WINNOW_STORAGE", "mysql://me:secret@db/w"),
    ],
)
def test_what_could_not_start_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        chosen({name: value})
    assert refused.value.place == name
    assert "secret" not in str(refused.value)


def test_a_secret_whose_settings_are_no_json_is_refused() -> None:
    with pytest.raises(InputError, match="settings"):
        chosen(secret={**FRESH, "settings": "MLFLOW_WORKERS=2"})


def test_a_password_that_no_url_can_hold_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError) as refused:
        chosen(secret={**FRESH, "POSTGRES_PASSWORD": "with@sign"})
    assert refused.value.place == "POSTGRES_PASSWORD"
    assert "with@sign" not in str(refused.value)


def test_addresses_inside_the_cluster_hold_no_password() -> None:
    assert tracking_url("ml") == "http://winnow-mlflow.ml.svc:5000"
    assert storage_url("ml") == "postgresql+psycopg://winnow@winnow-postgres.ml.svc:5432/winnow"

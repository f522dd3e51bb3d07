"""The table of the stack's settings."""

import pytest

from winnow.config.errors import InputError
from winnow.platforms.stack_variables import (
    SECRETS,
    check,
    check_keys,
    closed_store,
    missing_secrets,
    not_on,
    quantity,
    settings_of,
)

BLOB = "wasbs://mlflow@acme.blob.core.windows.net/runs"


def test_secrets_that_are_missing_are_named() -> None:
    complete = dict.fromkeys(SECRETS, "a-password")
    assert missing_secrets(None) == missing_secrets({"MINE": "1"}) == list(SECRETS)
    assert missing_secrets(complete) == []
    assert missing_secrets({**complete, "WINNOW_DB_PASSWORD": ""}) == ["WINNOW_DB_PASSWORD"]


def test_each_platform_has_its_own_settings_once() -> None:
    for platform, strange in (("docker", "STORAGE_CLASS"), ("kubernetes", "MLFLOW_PORT")):
        names = [one.name for one in settings_of(platform)]
        assert len(set(names)) == len(names)
        assert strange not in names and strange in not_on(platform)


def test_memory_may_be_written_as_docker_writes_it() -> None:
    texts = ("2g", "512m", "1.5gb", "2GB", "2Gi", "1G")
    assert [quantity(text) for text in texts] == ["2Gi", "512Mi", "1.5Gi", "2Gi", "2Gi", "1G"]


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3:///mlflow",
        "s3://My_Bucket",
        "s3://https://acme.s3.amazonaws.com",
        "gs://my bucket",
        "wasbs://mlflow/runs",
        "wasbs://mlflow@acme.dfs.core.windows.net",
        "wasbs://mlflow@acme-two.blob.core.windows.net",
        "wasbs://mlflow@acme.blob.core.windows.net.evil.example",
        "abfss://mlflow@acme.blob.core.windows.net",
    ],
)
def test_an_address_that_names_no_bucket_is_refused(address: str) -> None:
    with pytest.raises(InputError) as refused:
        check({"MLFLOW_ARTIFACTS_DESTINATION": address})
    assert refused.value.found == f"'{address}'"


@pytest.mark.parametrize("address", ["s3://acme/ml", "gs://acme_ml", BLOB, "abfss://ml-1@acme.dfs.core.windows.net"])
def test_an_address_of_a_bucket_is_taken(address: str) -> None:
    check({"MLFLOW_ARTIFACTS_DESTINATION": address})


@pytest.mark.parametrize(
    ("address", "given", "place", "found"),
    [
        ("s3://acme", {"AWS_ACCESS_KEY_ID": "me"}, "AWS_SECRET_ACCESS_KEY", "none"),
        ("s3://acme", {"AWS_SECRET_ACCESS_KEY": "hidden"}, "AWS_ACCESS_KEY_ID", "none"),
        (BLOB, {"AZURE_STORAGE_CONNECTION_STRING": "hidden"}, "AZURE_STORAGE_CONNECTION_STRING", "another text"),
        (
            BLOB,
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=hidden=="},
            "AZURE_STORAGE_CONNECTION_STRING",
            "one of 'other'",
        ),
    ],
)
def test_keys_that_cannot_open_the_store_are_refused(
    address: str, given: dict[str, str], place: str, found: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_keys(address, given)
    assert (refused.value.place, refused.value.found) == (place, found)
    assert "hidden" not in str(refused.value)


def test_keys_of_the_store_s_account_are_taken() -> None:
    check_keys(BLOB, {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acme;AccountKey=k==", "AWS_ACCESS_KEY_ID": "me"})
    check_keys("s3://acme", {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s"})
    check_keys("gs://acme", {"AWS_ACCESS_KEY_ID": "me"})


def test_a_closed_store_s_error_names_the_extra_or_the_keys() -> None:
    lacking = closed_store("gs://acme", "no package", lacks_package=True)
    assert lacking.remedy.startswith("Leave TRACKING_IMAGE out, or add winnow's extra 'gcs' to your own image")
    closed = closed_store(BLOB, "ResourceNotFoundError", lacks_package=False)
    assert "AZURE_STORAGE_ACCESS_KEY, AZURE_STORAGE_CONNECTION_STRING" in closed.remedy

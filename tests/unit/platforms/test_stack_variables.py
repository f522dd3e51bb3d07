"""The table of the stack's settings."""

from winnow.platforms.stack_variables import SECRETS, missing_secrets, not_on, quantity, settings_of


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

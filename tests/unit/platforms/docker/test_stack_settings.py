"""How what is set of the stack comes together."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.docker.stack_settings import choose, choose_ports
from winnow.platforms.stack_variables import NAMES, SETTINGS

ROOT = Path(__file__).parents[4]
COMPOSE = (ROOT / "compose.yaml").read_text()


def passwords() -> Callable[[], str]:
    made = iter(f"generated-{number}" for number in range(9))
    return lambda: next(made)


def chosen(given: Mapping[str, str] | None = None, file: EnvFile | None = None) -> EnvFile:
    return choose(given or {}, file or EnvFile(), passwords())


FRESH = {
    "MINIO_ROOT_USER": "winnow",
    "POSTGRES_PASSWORD": "generated-0",
    "MLFLOW_DB_PASSWORD": "generated-1",
    "WINNOW_DB_PASSWORD": "generated-2",
    "MINIO_ROOT_PASSWORD": "generated-3",
}


def test_a_first_start_generates_every_secret_and_nothing_else() -> None:
    assert chosen() == EnvFile("", FRESH)


def test_a_second_start_is_the_same() -> None:
    first = chosen({"MLFLOW_PORT": "5600", "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.com"})
    assert choose({}, first, passwords()) == first


def test_the_caller_wins_over_own_lines_and_own_lines_over_the_block() -> None:
    file = EnvFile("MLFLOW_PORT=5601\nPOSTGRES_PORT=5602\n", {"MLFLOW_PORT": "5603", "MLFLOW_WORKERS": "4"})
    found = chosen({"POSTGRES_PORT": "5604"}, file)
    assert found.own_text == file.own_text
    assert found.variables() == {
        "MLFLOW_PORT": "5601",
        "POSTGRES_PORT": "5604",
        "MLFLOW_WORKERS": "4",
        **FRESH,
    }


def test_an_own_password_is_taken() -> None:
    found = chosen(file=EnvFile("POSTGRES_PASSWORD=my-own-one\n"))
    assert "POSTGRES_PASSWORD" not in found.block
    assert found.variables()["POSTGRES_PASSWORD"] == "my-own-one"


def test_an_own_artifact_store_never_sees_minio_s_key() -> None:
    for address in ("s3://mine", "gs://mine"):
        found = chosen({"MLFLOW_ARTIFACTS_DESTINATION": address}).variables()
        names = ("MLFLOW_S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        assert [found[name] for name in names] == ["", "", ""]


def test_keys_of_another_store_are_not_written() -> None:
    given = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AZURE_STORAGE_ACCESS_KEY": "k"}
    google = chosen({"MLFLOW_ARTIFACTS_DESTINATION": "gs://mine", **given}).variables()
    assert (google["AWS_ACCESS_KEY_ID"], google.get("AZURE_STORAGE_ACCESS_KEY", "")) == ("", "")
    amazon = chosen({"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine", **given}).variables()
    assert (amazon["AWS_ACCESS_KEY_ID"], amazon.get("AZURE_STORAGE_ACCESS_KEY", "")) == ("me", "")


def test_keys_of_the_caller_s_environment_are_not_taken_for_minio_s() -> None:
    assert chosen({"AWS_ACCESS_KEY_ID": "me"}) == EnvFile("", FRESH)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"MLFLOW_BACKEND_STORE_URI": "postgresql://me@db/mlflow"}, "postgresql+psycopg://me@db/mlflow"),
        ({"MLFLOW_BACKEND_STORE_URI": "postgres://me@db/mlflow"}, "postgresql+psycopg://me@db/mlflow"),
        ({"MLFLOW_BACKEND_STORE_URI": "mysql://me@db/mlflow"}, "mysql+pymysql://me@db/mlflow"),
        ({"MLFLOW_BACKEND_STORE_URI": "mysql+mysqldb://me@db/mlflow"}, "mysql+mysqldb://me@db/mlflow"),
    ],
)
def test_a_plain_database_address_gets_the_driver_that_the_image_has(given: Mapping[str, str], found: str) -> None:
    assert chosen(given).block["MLFLOW_BACKEND_STORE_URI"] == found


@pytest.mark.parametrize(
    ("given", "extras"),
    [
        ({"MLFLOW_BACKEND_STORE_URI": "mysql://me@db/mlflow"}, "mysql"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "wasbs://mine@account.blob.core.windows.net/m"}, "azure"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "gs://mine", "EXTRAS": "mysql"}, "gcs,mysql"),
    ],
)
def test_an_address_brings_the_extra_that_it_needs(given: Mapping[str, str], extras: str) -> None:
    assert chosen(given).block["EXTRAS"] == extras


def test_pages_may_write_from_the_hosts_that_are_allowed() -> None:
    block = chosen({"WINNOW_BIND": "10.0.0.5", "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow.example.com"}).block
    assert block["MLFLOW_SERVER_ALLOWED_HOSTS"] == "mlflow.example.com,10.0.0.5:*"
    assert block["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == (
        "http://mlflow.example.com,https://mlflow.example.com,http://10.0.0.5:*,https://10.0.0.5:*"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_PORT", "http"),
        ("MLFLOW_PORT", "0"),
        ("MINIO_CONSOLE_PORT", "5532"),
        ("MLFLOW_WORKERS", "many"),
        ("WINNOW_PROJECT", "Mine!"),
        ("WINNOW_BIND", "localhost"),
        ("MLFLOW_BACKEND_STORE_URI", "mlflow.db"),
        ("MLFLOW_BACKEND_STORE_URI", "sqlite:///mlflow.db"),
        ("MLFLOW_BACKEND_STORE_URI", "postgresql://me:secret@localhost/mlflow"),
        ("MLFLOW_ARTIFACTS_DESTINATION", "mlartifacts"),
    ],
)
def test_what_could_not_start_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        chosen({name: value})
    assert refused.value.place == name
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("line", ["POSTGRES_PASSWORD=short", "WINNOW_DB_PASSWORD=with@sign-in-it"])
def test_a_password_that_no_url_can_hold_is_refused_and_not_shown(line: str) -> None:
    with pytest.raises(InputError) as refused:
        chosen(file=EnvFile(f"{line}\n"))
    assert refused.value.place == line.partition("=")[0]
    assert line.partition("=")[2] not in str(refused.value)


def test_a_key_without_a_store_of_its_own_is_refused() -> None:
    with pytest.raises(InputError, match="MLFLOW_ARTIFACTS_DESTINATION"):
        chosen(file=EnvFile("AWS_ACCESS_KEY_ID=me\n"))


def test_all_that_compose_yaml_asks_for_is_known_here() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", COMPOSE)) | set(
        re.findall(r"^ {6}(AZURE_\w+):$", COMPOSE, re.MULTILINE)
    )
    assert asked <= NAMES


def test_the_defaults_named_here_are_those_of_compose_yaml() -> None:
    of_compose = dict(re.findall(r"\$\{([A-Z0-9_]+):-([^${}]*)\}", COMPOSE))
    named = {one.name: one.default for one in SETTINGS if one.name in of_compose and " " not in one.default}
    assert {name: of_compose[name] for name in named} == named


NEW = EnvFile()


def free_but(*taken: int) -> Callable[[str, int], bool]:
    return lambda _address, port: port not in taken


def test_the_usual_ports_are_taken_where_they_are_free() -> None:
    assert choose_ports({}, NEW, free_but()) == ({"MLFLOW_PORT": "5000", "MINIO_CONSOLE_PORT": "9001"}, [])


def test_another_port_is_said_with_its_setting() -> None:
    assert choose_ports({}, NEW, free_but(5000, 5001, 9001)) == (
        {"MLFLOW_PORT": "5002", "MINIO_CONSOLE_PORT": "9002"},
        [
            "port 5000 of 127.0.0.1 is taken: MLFLOW_PORT is 5002",
            "port 9001 of 127.0.0.1 is taken: MINIO_CONSOLE_PORT is 9002",
        ],
    )


def test_no_two_services_get_the_same_port() -> None:
    ports, _ = choose_ports({"POSTGRES_PORT": "5001", "MINIO_CONSOLE_PORT": "5002"}, NEW, free_but(5000))
    assert ports == {"MLFLOW_PORT": "5003", "MINIO_CONSOLE_PORT": "5002"}


def test_a_free_port_is_one_at_the_address_that_it_is_published_on() -> None:
    asked: list[tuple[str, int]] = []

    def free(address: str, port: int) -> bool:
        asked.append((address, port))
        return True

    choose_ports({"WINNOW_BIND": "10.0.0.5"}, NEW, free)
    assert asked == [("10.0.0.5", 5000), ("127.0.0.1", 9001)]


def test_a_stack_that_exists_keeps_its_ports() -> None:
    nothing_is_free = free_but(*range(1, 65536))
    made = EnvFile(block={"MLFLOW_PORT": "5003", "MINIO_CONSOLE_PORT": "9004", "MINIO_ROOT_USER": "winnow"})
    assert choose_ports({}, made, nothing_is_free) == ({"MLFLOW_PORT": "5003", "MINIO_CONSOLE_PORT": "9004"}, [])
    own = EnvFile("MLFLOW_PORT=5600\nMINIO_CONSOLE_PORT=9600\n")
    assert choose_ports({}, own, nothing_is_free) == ({"MLFLOW_PORT": "5600", "MINIO_CONSOLE_PORT": "9600"}, [])


def test_a_stack_that_was_made_while_5500_was_the_default_keeps_it() -> None:
    made = EnvFile(block={"MINIO_ROOT_USER": "winnow"})
    assert choose_ports({}, made, free_but()) == ({"MLFLOW_PORT": "5500", "MINIO_CONSOLE_PORT": "9001"}, [])


def test_without_a_minio_of_its_own_a_stack_has_no_console() -> None:
    assert choose_ports({"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine"}, NEW, free_but()) == (
        {"MLFLOW_PORT": "5000"},
        [],
    )

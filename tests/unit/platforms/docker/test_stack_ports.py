"""Which ports a stack on Docker publishes."""

from __future__ import annotations

from collections.abc import Callable

from winnow.platforms.docker.stack_ports import choose_ports
from winnow.platforms.stack_env_file import EnvFile

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

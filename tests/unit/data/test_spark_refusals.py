"""What keeps Spark from starting is one error, before a process of its is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.data.stage.engines.spark_engine import SparkMaster, check_java, version


def _java(folder: Path, version: str) -> dict[str, str]:
    """Variables with a Java that says a version."""
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    return {"JAVA_HOME": str(folder)}


def test_a_machine_without_java_is_told_the_package(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"Java 17 or newer, which Spark runs on, found none on the PATH.*17"
    ) as refused:
        check_java({"PATH": str(tmp_path)})

    assert refused.value.place == "the engine spark"


def test_an_old_java_is_refused_with_its_version(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bin/java, which is Java 8\. "):
        check_java(_java(tmp_path, "1.8.0_452"))


@pytest.mark.parametrize("said", ["17.0.15", "21", "25-ea"])
def test_a_newer_java_passes(said: str, tmp_path: Path) -> None:
    check_java(_java(tmp_path, said))


def test_an_engine_that_is_not_installed_names_both_ways_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"install-tool.*spark.*pip install 'winnow\[spark\]'"):
        version(tmp_path, {})


@pytest.mark.parametrize("address", ["yarn", "spark://host", "local[0]", "k8s://", "http://host:7077", "spark://u@h:1"])
def test_a_master_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=f"SPARK_MASTER: expected .*, found '{address.replace('[', '.')[:5]}"):
        SparkMaster.from_environment({"SPARK_MASTER": address})


@pytest.mark.parametrize(
    ("address", "places"),
    [
        ("local[4]", ()),
        ("spark://a:7077,b:7078", (("a", 7077), ("b", 7078))),
        ("k8s://https://api.example.com", (("api.example.com", 443),)),
        ("k8s://http://10.0.0.1:8080", (("10.0.0.1", 8080),)),
    ],
)
def test_an_address_says_where_its_master_answers(address: str, places: tuple[tuple[str, int], ...]) -> None:
    assert SparkMaster.from_environment({"SPARK_MASTER": address}).places == places


def test_a_master_that_takes_no_connections_is_refused_at_once() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(InputError, match=f"found connection refused at 127.0.0.1:{port}"):
            SparkMaster(f"spark://127.0.0.1:{port}").check()

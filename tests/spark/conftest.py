"""What the tests of Spark share: an interpreter that has pyspark, and a standalone master with one worker."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from tests.tools import installed
from winnow.data.stage.engines import Recipe

ROWS = """
SELECT i AS id, CASE WHEN i % 11 = 0 THEN NULL ELSE lpad(CAST(i % 7 AS VARCHAR), 3, '0') END AS code,
    i / 3 AS value, CAST(i * 1.25 AS DECIMAL(10, 2)) AS price, DATE '1890-01-01' + CAST(i AS INTEGER) AS day,
    TIMESTAMP '2026-03-29 00:30:00' + to_minutes(i) AS at, i % 2 = 0 AS even
FROM range(1000) rows(i)
"""
START_S = 60.0


@dataclass(frozen=True)
class Standalone:
    """A master with one worker, as processes of this machine that a secret opens.

    Attributes:
        conf: the folder with the secret.
    """

    address: str
    conf: Path


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """The one that has pyspark, which is installed once."""
    return installed("spark")


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file with 1,000 rows of every type that a schema has."""
    file = tmp_path_factory.mktemp("raw") / "part-00000.parquet"
    duckdb.connect().execute(f"COPY ({ROWS}) TO '{file}' (FORMAT parquet)")
    return file


@pytest.fixture
def recipe(tmp_path: Path, raw: Path, interpreter: Path) -> Callable[..., Recipe]:
    """Makes a recipe of a query or a function, and variables beside those of this process."""

    def made(sql: str | None = None, *, function: str | None = None, **variables: str) -> Recipe:
        for name in ("output", "temporary"):
            (tmp_path / name).mkdir(exist_ok=True)
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
        environment = {**kept, **variables}
        place, home = function or "prepare.sql", tmp_path / "home"
        output, temporary = tmp_path / "output", tmp_path / "temporary"
        return Recipe(sql, function, place, (raw,), output, temporary, 512, home, environment)

    return made


@pytest.fixture(scope="session")
def standalone(interpreter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A standalone master and one worker, which listen on 127.0.0.1 alone."""
    folder = tmp_path_factory.mktemp("standalone")
    conf = folder / "conf"
    conf.mkdir()
    secret = f"spark.authenticate true\nspark.authenticate.secret {secrets.token_hex(32)}\n"
    (conf / "spark-defaults.conf").write_text(secret, encoding="utf-8")
    port, page, worker_page = (_free_port() for _ in range(3))
    address = f"spark://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder),
        "PYSPARK_PYTHON": str(interpreter),
    }
    master = ("Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page))
    worker = ("Worker", "--host", "127.0.0.1", "--webui-port", str(worker_page), "--cores", "2", "--memory", "1g")
    daemons = [
        _daemon(interpreter, environment, folder / name, *arguments)
        for name, arguments in (("master.log", master), ("worker.log", (*worker, "--work-dir", str(folder), address)))
    ]
    try:
        _await(folder / "worker.log", "Successfully registered with master")
        yield Standalone(address, conf)
    finally:
        for daemon in daemons:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


def _daemon(interpreter: Path, environment: dict[str, str], log: Path, name: str, *arguments: str) -> subprocess.Popen:
    # The wheel has no start-master.sh.
    starts = interpreter.with_name("spark-class")
    argv = [str(starts), f"org.apache.spark.deploy.{name.lower()}.{name}", *arguments]
    with log.open("wb") as file:
        return subprocess.Popen(argv, env=environment, stdout=file, stderr=file, start_new_session=True)


def _await(log: Path, text: str) -> None:
    end = time.monotonic() + START_S
    while text not in log.read_text(encoding="utf-8", errors="replace"):
        assert time.monotonic() < end, log.read_text(encoding="utf-8", errors="replace")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])

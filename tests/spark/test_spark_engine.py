"""A real Spark, on this machine and at a standalone master, prepares rows and refuses bad input."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import duckdb
import psutil
import pytest

from tests.spark.conftest import Standalone
from tests.unit.test_weather_experiment import assert_agrees
from winnow.config.errors import InputError
from winnow.data.stage.engines import Recipe
from winnow.data.stage.engines.spark_engine import run, version

pytestmark = pytest.mark.spark

MakeRecipe = Callable[..., Recipe]
FUNCTION = """
from pyspark.sql import functions as sql
from pyspark.sql.types import StringType


def shout(code):
    return None if code is None else code + "!"


def prepare(raw):
    print("a line of a function")
    shouted = sql.udf(shout, StringType())
    return raw.filter("id < 3").select("id", shouted("code").alias("code"))
"""
ENDLESS = "SELECT count(*) AS n FROM raw a, raw b, raw c, raw d WHERE a.value + b.value + c.value + d.value < 0"


def _rows(recipe: Recipe) -> list[tuple[object, ...]]:
    return duckdb.sql(f"FROM '{recipe.output}/*.parquet' ORDER BY 1 NULLS LAST").fetchall()


def test_values_keep_their_types_and_their_zone(recipe: MakeRecipe) -> None:
    wanted = recipe(
        "SELECT *, date_trunc('HOUR', at) AS hour, 2147483647 + id AS sum FROM raw WHERE id = 1;", TZ="America/New_York"
    )

    run(wanted)

    day, at = datetime.date(1890, 1, 2), datetime.datetime(2026, 3, 29, 0, 31)
    hour = datetime.datetime(2026, 3, 29, 0, 0, tzinfo=datetime.UTC)
    assert _rows(wanted) == [(1, "001", 1 / 3, Decimal("1.25"), day, at, False, hour, 2147483648)]
    assert re.fullmatch(r"4\.[0-9]+\.[0-9]+", version(wanted.home, wanted.environment))


def test_double_quotes_name_a_column_as_in_duckdb_and_this_machine_may_start_slowly(recipe: MakeRecipe) -> None:
    wanted = recipe("""SELECT "code", 'code' AS text FROM raw WHERE id = 1""")

    run(wanted, timeout_s=1)

    assert _rows(wanted) == [("001", "code")]


def test_workers_of_a_standalone_master_run_the_functions_of_a_file(
    recipe: MakeRecipe, standalone: Standalone, tmp_path: Path
) -> None:
    file = tmp_path / "prepare_weather.py"
    file.write_text(FUNCTION, encoding="utf-8")
    wanted = recipe(function=f"{file}:prepare", SPARK_MASTER=standalone.address, SPARK_CONF_DIR=str(standalone.conf))

    run(wanted)

    assert _rows(wanted) == [(0, None), (1, "001!"), (2, "002!")]


def test_spark_prepares_the_weather_as_duckdb_does(interpreter: Path, tmp_path: Path) -> None:
    assert_agrees("spark", tmp_path)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT nothing FROM raw", r"\[UNRESOLVED_COLUMN.WITH_SUGGESTION\] A column.*`nothing`.*"),
        ("SELECT id / (id - id) AS x FROM raw", r"\[DIVIDE_BY_ZERO\].*"),
    ],
)
def test_a_query_that_fails_is_one_line(sql: str, found: str, recipe: MakeRecipe) -> None:
    with pytest.raises(InputError) as refused:
        run(recipe(sql))

    assert refused.value.place == "prepare.sql"
    assert re.fullmatch(f"'{found}'", refused.value.found)


def test_a_query_reads_no_other_files(recipe: MakeRecipe, raw: Path) -> None:
    with pytest.raises(InputError, match="parquet"):
        run(recipe(f"SELECT * FROM parquet.`{raw}`"))


def test_a_function_that_fails_is_named_with_its_error(recipe: MakeRecipe, tmp_path: Path) -> None:
    file = tmp_path / "faulty.py"
    file.write_text("def prepare(raw):\n    return 1 / 0\n", encoding="utf-8")

    with pytest.raises(InputError) as fails:
        run(recipe(function=f"{file}:prepare"))

    assert (fails.value.place, fails.value.found) == (f"{file}:prepare", "'ZeroDivisionError: division by zero'")


def test_a_master_that_is_silent_is_given_up_in_time(recipe: MakeRecipe) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        master = f"spark://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError) as refused:
            run(recipe("SELECT 1 AS one", SPARK_MASTER=master), timeout_s=8)

    assert (refused.value.place, refused.value.found) == ("SPARK_MASTER", "no session within 8 s")


def test_a_master_without_free_workers_is_given_up_in_time(
    recipe: MakeRecipe, standalone: Standalone, tmp_path: Path
) -> None:
    conf = tmp_path / "conf"
    conf.mkdir()
    text = (standalone.conf / "spark-defaults.conf").read_text(encoding="utf-8")
    (conf / "spark-defaults.conf").write_text(f"{text}spark.executor.memory 64g\n", encoding="utf-8")

    with pytest.raises(InputError) as refused:
        run(recipe("SELECT 1 AS one", SPARK_MASTER=standalone.address, SPARK_CONF_DIR=str(conf)), timeout_s=15)

    assert (refused.value.place, refused.value.found) == (f"the master {standalone.address}", "no executor within 15 s")


@pytest.mark.parametrize("end", ["interrupt", "job", "jvm"])
def test_a_job_that_ends_early_leaves_no_process(end: str, recipe: MakeRecipe) -> None:
    wanted = recipe(ENDLESS)

    def strike() -> None:
        jvm = _jvm(wanted)
        while not list(wanted.temporary.glob("spark/blockmgr-*")):  # its session is open
            time.sleep(0.1)
        if end == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            (jvm if end == "jvm" else jvm.parent()).kill()

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt if end == "interrupt" else InputError) as ended:
        run(wanted)
    thread.join()

    left = [each for each in psutil.process_iter() if _is_of(each, wanted)]
    assert psutil.wait_procs(left, timeout=5)[1] == []
    if end != "interrupt":
        assert ended.value.place == "the engine spark"
        assert "status -9" in ended.value.found


def _jvm(recipe: Recipe) -> psutil.Process:
    """The JVM of a job, once there is one. Another one, which is gone soon, works out its command."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it may end between two questions
                if _is_of(each, recipe) and "org.apache.spark.deploy.SparkSubmit" in each.cmdline():
                    return each
        time.sleep(0.1)
    raise AssertionError("no JVM was started")


def _is_of(process: psutil.Process, recipe: Recipe) -> bool:
    try:
        is_its = process.environ().get("SPARK_LOCAL_DIRS") == str(recipe.temporary / "spark")
        return is_its and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False

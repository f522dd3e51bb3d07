"""The DAG that prepares rows by Spark, run by Airflow itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.airflow_project import weather
from tests.tools import installed

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


def test_rows_are_prepared_by_spark_and_a_training_is_triggered(tmp_path: Path) -> None:
    installed("spark")
    with weather(tmp_path) as project:
        [found] = project.run(json.dumps([["weather_spark_preprocessing", {}]]))
        prepared = next((tmp_path / ".winnow" / "data" / "weather" / "prepared").glob("*/prepared.json"))

    tasks = dict.fromkeys(("ingest", "validate", "prepare", "train"), "success")
    assert (found["state"], found["tasks"]) == ("success", tasks)
    assert json.loads(prepared.read_text())["inputs"]["engine"].startswith("spark")

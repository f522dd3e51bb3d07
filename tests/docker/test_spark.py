"""`winnow spark-init` starts a Spark in containers that a secret opens, and it prepares rows."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.docker.stacks import ROOT, clean_environment, free_port
from tests.tools import installed
from tests.winnow_command import winnow
from winnow.config.tools import FOLDER
from winnow.data.weather_readings import write_readings

pytestmark = pytest.mark.docker


def test_a_spark_in_containers_prepares_rows_with_a_secret(tmp_path: Path) -> None:
    tools = installed("spark").parents[2]
    own = {"WINNOW_PROJECT": f"t{uuid.uuid4().hex[:10]}", FOLDER: str(tools)}
    env = {**clean_environment(tmp_path / "home"), **own}

    def run(*arguments: str) -> str:
        done = winnow(*arguments, env=env, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    write_readings(tmp_path / "weather", 2000, seed=1)
    text = (ROOT / "experiments/weather/weather.yaml").read_text(encoding="utf-8")
    config, master = tmp_path / "weather.yaml", f"spark://127.0.0.1:{free_port()}"
    config.write_text(text.replace("data/weather", str(tmp_path / "weather")), encoding="utf-8")
    run("ingest", "--config", str(config))
    try:
        started = run("spark-init", "--spark-port", master.rpartition(":")[2], "--page-port", str(free_port()))
        assert started.startswith(f"Master  {master}\n")
        secret = tmp_path / "home/spark/conf/spark-defaults.conf"
        assert secret.stat().st_mode & 0o777 == 0o600

        found = run("prepare", "--config", str(config), "--engine", "spark", "--spark-master", master)

        assert "by spark 4." in found
    finally:
        removed = run("spark-remove")
    assert "Prepared rows stay." in removed
    assert not secret.exists()

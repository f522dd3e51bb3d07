"""What only a running Airflow shows: alarms, new data and backfills start trainings, and a killed verb goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.airflow_rest import asked, await_dags, show_logs, token_of
from tests.docker.stacks import clean_environment, free_port
from tests.tools import installed
from winnow.config.monitoring import AlertConfig
from winnow.config.tools import FOLDER
from winnow.monitoring.notices import Notice
from winnow.monitoring.report import Alarm
from winnow.orchestrators.alert_delivery import deliver

pytestmark = [pytest.mark.tools("airflow"), pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
WINNOW = [sys.executable, "-m", "winnow"]
TRAINING, DATA = "weather_continuous_training", "weather_data_pipeline"


@dataclass(frozen=True)
class Running:
    """An Airflow that runs, and its project."""

    folder: Path
    env: dict[str, str]
    address: str
    password: str
    token: str

    def winnow(self, *arguments: str) -> str:
        return subprocess.run(
            [*WINNOW, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, check=True
        ).stdout

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        return asked(f"{self.address}/api/v2/{path}", self.token, body, method)

    def unpause(self, dag: str) -> None:
        self.ask(f"dags/{dag}", {"is_paused": False}, "PATCH")

    def tries(self, dag: str, started: str = "") -> list[tuple[str, str, int]]:
        """Each task's state and number of tries, over all runs of a DAG whose ids begin so."""
        found = self.ask(f"dags/{dag}/dagRuns/~/taskInstances")["task_instances"]
        return sorted(
            (each["task_id"], str(each["state"]), each["try_number"])
            for each in found
            if each["dag_run_id"].startswith(started)
        )


def until(is_so: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.fixture
def airflow(tmp_path: Path) -> Iterator[Running]:
    installed("airflow")
    env, port = {**clean_environment(tmp_path / "home"), FOLDER: os.environ[FOLDER]}, free_port()
    shutil.copytree(REPOSITORY / "experiments" / "weather", tmp_path / "experiments" / "weather")
    shutil.copytree(REPOSITORY / "airflow" / "dags", tmp_path / "dags")
    for file in (tmp_path / "dags").iterdir():
        file.write_text(file.read_text().replace("seconds=60", "seconds=1"))
    argv = [*WINNOW, "airflow-local", "--dags", "dags", "--port", str(port)]
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            while b"Ctrl-C" not in (line := process.stdout.readline()):
                assert line
            passwords = tmp_path / "home/airflow/standalone/simple_auth_manager_passwords.json.generated"
            address = f"http://127.0.0.1:{port}"
            password = json.loads(passwords.read_text())["admin"]
            token = token_of(address, password)
            await_dags(address, token)
            yield Running(tmp_path, env, address, password, token)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            show_logs(tmp_path / "home/airflow/standalone")


def alarm(password: str, address: str) -> tuple[AlertConfig, Notice, dict[str, str]]:
    """What `winnow monitor` tells of, and its receiver: Airflow."""
    script = REPOSITORY / "airflow/plugins/winnow_airflow/start_run.py"
    alert = AlertConfig(command=f"{sys.executable} {script} {TRAINING} --conf '{{\"trials\": 6}}'")
    notice = Notice("firing", Alarm("WinnowDrift", "humidity", "It moved.", 1_795_000_000.0), "weather", "weather", 0.0)
    return alert, notice, {**os.environ, "AIRFLOW_PASSWORD": password, "AIRFLOW_ADDRESS": address}


def test_a_sweep_is_started_by_an_alarm_goes_on_after_a_kill_and_is_no_one_elses(airflow: Running) -> None:
    def runs() -> list[psutil.Process]:
        """The process that runs a verb, and the verb."""
        mine = [each for each in psutil.process_iter(["cmdline"]) if str(airflow.folder) in str(each.info["cmdline"])]
        runners = [each for each in mine if "runner.py" in str(each.info["cmdline"])]
        return [*runners, *(child for each in runners for child in each.children())]

    def trials() -> list[int]:
        """How many each study has, oldest first."""
        found = json.loads(airflow.winnow("studies", "--json"))
        return [sum(each["trials"].values()) for each in sorted(found, key=lambda each: str(each["name"]))]

    def has_begun() -> bool:
        """Whether there is a trial. A verb takes so long to start that the sweep might end before it says so."""
        address = f"file:{airflow.folder}/home/studies.db?mode=ro"
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(address, uri=True)) as studies:
            return studies.execute("SELECT 1 FROM trials").fetchone() is not None
        return False

    airflow.winnow("generate-data", "--kind", "weather", "--rows", "3000")
    for verb in ("ingest", "prepare"):
        airflow.winnow(verb, "--config", "experiments/weather/weather.yaml")

    airflow.unpause(TRAINING)
    alert, notice, environment = alarm(airflow.password, airflow.address)
    for _ in range(2):  # an alarm that is told twice starts one run
        assert list(deliver(alert, [notice], [], 0.0, environment)) == [(notice,)]
    until(has_begun, 90)
    running = runs()
    assert running
    for process in running:
        process.kill()
    until(lambda: airflow.tries(TRAINING) == [("select", "success", 1), ("train", "success", 2)], 180)
    assert trials() == [6]

    # A backfill trains a study of its own, and its run once more finds it finished. (After one of an earlier day,
    # Airflow would also make up for the last run that was missed.)
    day = datetime.now(UTC).strftime("%Y-%m-%dT00:00:00")
    body = {"dag_id": TRAINING, "from_date": f"{day}Z", "to_date": f"{day}Z", "dag_run_conf": {"trials": 2}}
    airflow.ask("backfills", {**body, "max_active_runs": 1})
    until(lambda: ("select", "success", 1) in airflow.tries(TRAINING, "backfill"), 120)
    assert trials() == [2, 6]
    airflow.ask(f"dags/{TRAINING}/dagRuns/backfill__{day}+00:00/clear", {"dry_run": False})
    until(lambda: ("select", "success", 2) in airflow.tries(TRAINING, "backfill"), 120)
    assert trials() == [2, 6]

    airflow.winnow("generate-data", "--kind", "weather", "--rows", "3400", "--force")
    airflow.unpause(DATA)
    airflow.ask(f"dags/{DATA}/dagRuns", {"logical_date": None})
    until(lambda: airflow.tries(TRAINING, "asset_triggered") != [], 120)
    assert airflow.tries(DATA) == [("ingest", "success", 1), ("prepare", "success", 1), ("validate", "success", 1)]

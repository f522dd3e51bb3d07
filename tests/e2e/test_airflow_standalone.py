"""What only a running Airflow shows: a verb that is killed goes on, and new data start a training."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.airflow_rest import asked, await_dags, show_logs, token_of
from tests.docker.stacks import clean_environment, free_port
from tests.tools import installed
from winnow.config.tools import FOLDER

pytestmark = [pytest.mark.tools, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
WINNOW = [sys.executable, "-m", "winnow"]
TRAINING, DATA = "weather_continuous_training", "weather_data_pipeline"


@dataclass(frozen=True)
class Running:
    """An Airflow that runs, and its project."""

    folder: Path
    env: dict[str, str]
    address: str
    token: str

    def winnow(self, *arguments: str) -> str:
        return subprocess.run(
            [*WINNOW, *arguments], cwd=self.folder, env=self.env, capture_output=True, text=True, check=True
        ).stdout

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        return asked(f"{self.address}/api/v2/{path}", self.token, body, method)

    def start(self, dag: str, conf: dict[str, Any]) -> None:
        self.ask(f"dags/{dag}", {"is_paused": False}, "PATCH")
        self.ask(f"dags/{dag}/dagRuns", {"logical_date": None, "conf": conf})

    def tries(self, dag: str) -> list[tuple[str, str, int]]:
        """Each task's state and number of tries, over all runs of a DAG."""
        found = self.ask(f"dags/{dag}/dagRuns/~/taskInstances")["task_instances"]
        return sorted((each["task_id"], str(each["state"]), each["try_number"]) for each in found)


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
            token = token_of(address, json.loads(passwords.read_text())["admin"])
            await_dags(address, token)
            yield Running(tmp_path, env, address, token)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            show_logs(tmp_path / "home/airflow/standalone")


def test_a_killed_sweep_goes_on_and_new_data_start_a_training(airflow: Running) -> None:
    def runs() -> list[psutil.Process]:
        """The process that runs a verb, and the verb."""
        mine = [each for each in psutil.process_iter(["cmdline"]) if str(airflow.folder) in str(each.info["cmdline"])]
        runners = [each for each in mine if "runner.py" in str(each.info["cmdline"])]
        return [*runners, *(child for each in runners for child in each.children())]

    def trials() -> int:
        return sum(sum(study["trials"].values()) for study in json.loads(airflow.winnow("studies", "--json")))

    airflow.winnow("generate-data", "--kind", "weather", "--rows", "3000")
    for verb in ("ingest", "prepare"):
        airflow.winnow(verb, "--config", "experiments/weather/weather.yaml")

    airflow.start(TRAINING, {"trials": 6})
    until(lambda: trials() > 0, 90)
    for process in runs():
        process.kill()
    until(lambda: airflow.tries(TRAINING) == [("select", "success", 1), ("train", "success", 2)], 180)
    assert trials() == 6

    airflow.winnow("generate-data", "--kind", "weather", "--rows", "3400", "--force")
    airflow.start(DATA, {})
    until(lambda: len(airflow.tries(TRAINING)) == 4, 120)
    assert airflow.tries(DATA) == [("ingest", "success", 1), ("prepare", "success", 1), ("validate", "success", 1)]

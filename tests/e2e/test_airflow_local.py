"""Airflow on this machine, by the product's own command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.airflow_rest import asked, await_dags, token_of, write_dag
from tests.docker.stacks import clean_environment, free_port
from tests.tools import installed
from winnow.config.tools import FOLDER

pytestmark = [pytest.mark.tools("airflow"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
DAG = """
import os, subprocess, sys, time
from airflow.sdk import DAG, BaseHook, task

with DAG("trivial"):

    @task
    def verb():
        project = BaseHook.get_connection("winnow_default").extra_dejson["project"]
        folder = os.path.join(os.environ["WINNOW_HOME"], "airflow", "verb")
        os.makedirs(folder)
        runner = os.path.join(RUNNER, "winnow_airflow", "runner.py")
        subprocess.Popen([sys.executable, "-I", runner, folder, "sleep", "600"], cwd=project, start_new_session=True)
        time.sleep(600)

    verb()
"""


def until(is_so: object, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def of_home(home: Path) -> list[list[str]]:
    """The command lines of the processes that have this home in their environment or their arguments."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.status() != psutil.STATUS_ZOMBIE and str(home) in " ".join(
                (*each.environ().values(), *each.cmdline())
            ):
                found.append(each.cmdline())
        except psutil.Error:
            continue
    return found


def test_airflow_runs_a_task_of_the_project_and_ends_with_all_of_its_processes(tmp_path: Path) -> None:
    installed("airflow")
    home, port = tmp_path / "home", free_port()
    address = f"http://127.0.0.1:{port}"
    environment = {**clean_environment(home), FOLDER: os.environ[FOLDER]}
    write_dag(tmp_path, f"RUNNER = {str(ROOT / 'airflow/plugins')!r}\n{DAG}")
    argv = [sys.executable, "-m", "winnow", "airflow-local", "--port", str(port)]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as airflow:
        try:
            assert airflow.stdout is not None
            lines = []
            while b"Ctrl-C" not in (line := airflow.stdout.readline()):
                assert line, b"".join(lines)
                lines.append(line)
            passwords = json.loads(
                (home / "airflow/standalone/simple_auth_manager_passwords.json.generated").read_text()
            )
            assert f"Airflow   {address}".encode() in b"".join(lines)
            assert passwords["admin"].encode() in b"".join(lines)

            token = token_of(address, passwords["admin"])
            assert await_dags(address, token) == ["trivial"]
            asked(f"{address}/api/v2/dags/trivial", token, {"is_paused": False}, "PATCH")
            asked(f"{address}/api/v2/dags/trivial/dagRuns", token, {"logical_date": None})
            until((home / "airflow/verb/pid").exists)
        finally:
            airflow.send_signal(signal.SIGTERM)
            said = airflow.stdout.read()
    assert (airflow.returncode, said.splitlines()[-1]) == (0, b"stopping Airflow")
    assert of_home(home) == []
    assert (home / "airflow/verb/status").read_text() == str(-signal.SIGINT)

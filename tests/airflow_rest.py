"""Airflow's REST API, as tests ask it."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

DAG = """
from airflow.sdk import DAG, task

with DAG("trivial"):

    @task
    def one():
        return 1

    one()
"""


def asked(url: str, token: str = "", body: Any = None, method: str | None = None) -> Any:
    """The JSON of an answer."""
    request = urllib.request.Request(url, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    request.data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def token_of(address: str, password: str) -> str:
    """A token of the user admin."""
    return str(asked(f"{address}/auth/token", body={"username": "admin", "password": password})["access_token"])


def await_dags(address: str, token: str, within_s: float = 60) -> list[str]:
    """The DAGs that are listed, once there are some."""
    deadline = time.monotonic() + within_s
    while not (found := asked(f"{address}/api/v2/dags", token)["dags"]):
        assert time.monotonic() < deadline, asked(f"{address}/api/v2/importErrors", token)
        time.sleep(0.5)
    return [str(each["dag_id"]) for each in found]


def await_run(address: str, token: str, dag: str, within_s: float = 90) -> str:
    """How a run of a DAG ends, which is triggered by hand."""
    deadline = time.monotonic() + within_s
    url = f"{address}/api/v2/dags/{dag}"
    asked(url, token, {"is_paused": False}, "PATCH")
    run = asked(f"{url}/dagRuns", token, {"logical_date": None})["dag_run_id"]
    while (state := asked(f"{url}/dagRuns/{run}", token)["state"]) not in ("success", "failed"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return str(state)


def show_logs(folder: Path) -> None:
    """Print the end of each try's log, of an Airflow with this home. Pytest shows it where the test fails."""
    for file in [*sorted(folder.glob("logs/dag_id=*/**/attempt=*.log")), folder / "standalone.log"]:
        print(f"--- {file.relative_to(folder)}", *file.read_text(errors="replace").splitlines()[-40:], sep="\n")


def write_dag(project: Path, text: str = DAG) -> None:
    """Give a project one DAG."""
    folder = project / "airflow/dags"
    folder.mkdir(parents=True)
    (folder / "trivial.py").write_text(text)

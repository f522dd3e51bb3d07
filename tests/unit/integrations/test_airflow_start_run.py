"""The script by which an alarm starts a DAG run. `tests/e2e/test_airflow_standalone.py` has it start one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "airflow/plugins/winnow_airflow/start_run.py"
AWAY = {"AIRFLOW_ADDRESS": "http://127.0.0.1:9", "AIRFLOW_PASSWORD": "secret"}


@pytest.mark.parametrize(
    ("variables", "told", "expected"),
    [
        ({}, "", (2, "AIRFLOW_PASSWORD: expected the password of a user of Airflow, found nothing. Set it.")),
        (AWAY, '{"status": "resolved"}', (0, "the alarm has ended: nothing to start")),
        (AWAY, "", (1, "http://127.0.0.1:9 does not answer as Airflow does: [Errno 111] Connection refused")),
    ],
    ids=["no password", "an alarm that ended", "Airflow is away"],
)
def test_it_says_why_it_starts_nothing(variables: dict[str, str], told: str, expected: tuple[int, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")} | variables
    argv = [sys.executable, "-I", str(SCRIPT), "churn_continuous_training"]
    done = subprocess.run(argv, env=environment, input=told, capture_output=True, text=True, check=False)
    assert (done.returncode, (done.stdout + done.stderr).strip()) == expected

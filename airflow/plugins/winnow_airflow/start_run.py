"""Start a run of a DAG through Airflow's REST API, as the command of `monitoring.alert`.

    AIRFLOW_PASSWORD=… python start_run.py weather_continuous_training --conf '{"trials": 20}'

Standard input may hold an alarm as `winnow monitor` writes it: one that ended starts nothing, and one that began starts
one run, however often it is told. It needs the standard library alone: any interpreter runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

ADDRESS, USER, PASSWORD = "AIRFLOW_ADDRESS", "AIRFLOW_USER", "AIRFLOW_PASSWORD"
TIMEOUT_S = 30
EXISTS = 409


def main(argv: list[str], environment: dict[str, str], told: str) -> int:
    """Start the run; return 0 where it runs, or did before, 1 where Airflow does not take it, and 2 on bad input."""
    parser = argparse.ArgumentParser(prog="start_run.py", description="Start a run of a DAG of Airflow.")
    parser.add_argument("dag")
    parser.add_argument("--conf", type=json.loads, default={}, help="parameters, as JSON")
    given = parser.parse_args(argv)
    if not environment.get(PASSWORD):
        return _failed(f"{PASSWORD}: expected the password of a user of Airflow, found nothing. Set it.", 2)
    alarm = json.loads(told) if told.strip() else {}
    if alarm.get("status") == "resolved":
        print("the alarm has ended: nothing to start")
        return 0
    address = environment.get(ADDRESS, "http://localhost:8080").rstrip("/")
    run: dict[str, Any] = {"logical_date": None, "conf": given.conf}
    if alarm:
        run["dag_run_id"] = f"alert__{alarm['labels']['alertname']}__{alarm['startsAt']}"
    try:
        user = {"username": environment.get(USER, "admin"), "password": environment[PASSWORD]}
        token = _post(f"{address}/auth/token", user)["access_token"]
        started = _post(f"{address}/api/v2/dags/{given.dag}/dagRuns", run, token)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(500).decode(errors="replace")
        if error.code == EXISTS:
            print(f"{given.dag}: the alarm has started {run.get('dag_run_id')} before")
            return 0
        return _failed(f"{error.url} answered {error.code}: {said}", 1)
    except (OSError, ValueError) as error:
        return _failed(f"{address} does not answer as Airflow does: {getattr(error, 'reason', error)}", 1)
    print(f"{given.dag}: started {started['dag_run_id']}")
    return 0


def _post(url: str, body: object, token: str = "") -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # nosec B310 (the address is set beside the password)
        return json.load(answer)


def _failed(said: str, status: int) -> int:
    print(said, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ), "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read()))

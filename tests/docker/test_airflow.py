"""Airflow in containers, by the product's own commands."""

from __future__ import annotations

import stat
import subprocess
import sys
import urllib.error
import uuid
from pathlib import Path

import docker
import pytest

from tests.airflow_rest import asked, await_dags, await_run, token_of, write_dag
from tests.docker.stacks import clean_environment, free_port
from winnow.config.env_file import read_variables

DAG = """
from airflow.sdk import DAG
from winnow_airflow import WinnowOperator

with DAG("trivial"):
    WinnowOperator(task_id="studies", verb="studies", flags={"json": True})
"""

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]


def test_airflow_starts_runs_a_verb_for_its_user_and_goes_with_its_data(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    name, port, home, project = f"t{uuid.uuid4().hex[:10]}", str(free_port()), tmp_path / "home", tmp_path / "project"
    environment = {**clean_environment(home), "WINNOW_PROJECT": name}

    def winnow(*arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "winnow", *arguments]
        return subprocess.run(argv, cwd=project, env=environment, text=True, capture_output=True, check=False)

    def left() -> list[str]:
        label = {"label": f"winnow.airflow={home}"}
        found = (engine.containers.list(all=True, filters=label), engine.volumes.list(filters=label))
        return [str(each.name) for kind in found for each in kind]

    write_dag(project, DAG)
    (project / ".dockerignore").write_text("")
    try:
        started = winnow("airflow-init", "--port", port)
        assert started.returncode == 0, started.stdout + started.stderr
        file = home / "airflow/docker/secrets.env"
        secrets = read_variables(file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not any(value in started.stdout + started.stderr for value in secrets.values())

        address = f"http://127.0.0.1:{port}"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(f"{address}/api/v2/dags")
        token = token_of(address, secrets["AIRFLOW_ADMIN_PASSWORD"])
        assert await_dags(address, token) == ["trivial"]
        assert await_run(address, token, "trivial") == "success"

        scheduler = engine.containers.get(f"{name}-airflow-scheduler-1")
        assert scheduler.exec_run("id -u").output == b"10001\n"

        again = winnow("airflow-init", "--port", port)
        assert again.returncode == 0, again.stdout + again.stderr
        assert engine.containers.get(scheduler.id).status == "running"
        assert "scheduler" in winnow("airflow-logs", "--service", "scheduler").stdout
    finally:
        removed = winnow("airflow-remove", "--volumes")
        for image in engine.images.list(filters={"reference": "winnow-airflow:project-*"}):
            engine.images.remove(image.id, force=True)
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert left() == []
    assert not file.exists()

"""Verbs as tasks in containers, by Airflow's own DockerOperator, on SQLite."""

from __future__ import annotations

import uuid
from pathlib import Path

import docker
import pytest

from tests.airflow_project import WINE, project_of

DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from docker.types import Mount
from winnow_airflow.containers import WinnowDockerOperator

FILE = Mount("/workspace/wine.yaml", "EXPERIMENT", type="bind", read_only=True)
SHARED = {"image": "IMAGE", "labels": {"winnow.test": "LABEL"}, "mounts": [FILE], "mount_tmp_dir": False}
with DAG("containers", default_args={"retries": 1, "retry_delay": timedelta(0)}):
    WinnowDockerOperator(task_id="train", verb="train", flags={"config": "wine.yaml"}, **SHARED)
    WinnowDockerOperator(
        task_id="refused", verb="train", flags={"config": "absent.yaml"}, auto_remove="never", **SHARED
    )
"""

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def test_a_container_trains_and_goes_and_one_that_refuses_is_not_tried_again(
    engine: docker.DockerClient, train_image: str, tmp_path: Path
) -> None:
    label = uuid.uuid4().hex[:10]
    (tmp_path / "wine.yaml").write_text(WINE)
    (tmp_path / "wine.yaml").chmod(0o644)
    (tmp_path / "dags").mkdir()
    dag = (
        DAG.replace("EXPERIMENT", str(tmp_path / "wine.yaml"))
        .replace("IMAGE", f"winnow-test-tasks:{label}")
        .replace("LABEL", label)
    )
    (tmp_path / "dags" / "containers.py").write_text(dag)
    left = []
    engine.images.get(train_image).tag("winnow-test-tasks", label)  # the operator takes an id for a name to pull
    try:
        runs = project_of(tmp_path, tmp_path / "dags").run('[["containers", {}]]')
    finally:
        for container in engine.containers.list(all=True, filters={"label": f"winnow.test={label}"}):
            left.append((container.attrs["Config"]["Cmd"], container.attrs["State"]["ExitCode"]))
            container.remove(force=True, v=True)
        engine.images.remove(f"winnow-test-tasks:{label}")

    assert runs == [{"dag": "containers", "state": "failed", "tasks": {"train": "success", "refused": "failed"}}]
    assert left == [(["winnow", "train", "--config", "absent.yaml"], 2)]

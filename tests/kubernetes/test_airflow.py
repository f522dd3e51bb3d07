"""Verbs as tasks in pods, by Airflow's own KubernetesPodOperator, on SQLite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.airflow_project import WINE, project_of
from tests.kubernetes.places import ROOT, Place, kubeconfig_of, least_privileged

DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from kubernetes.client import V1ConfigMapVolumeSource, V1Volume, V1VolumeMount
from winnow_airflow.containers import WinnowPodOperator

SHARED = {
    "image": "IMAGE",
    "namespace": "NAMESPACE",
    "in_cluster": False,
    "startup_timeout_seconds": 120,
    "volumes": [V1Volume(name="experiments", config_map=V1ConfigMapVolumeSource(name="experiments"))],
    "volume_mounts": [V1VolumeMount(name="experiments", mount_path="/experiments", read_only=True)],
}
with DAG("pods", default_args={"retries": 1, "retry_delay": timedelta(0)}):
    WinnowPodOperator(task_id="train", verb="train", flags={"config": "/experiments/wine.yaml"}, **SHARED)
    WinnowPodOperator(
        task_id="refused", verb="train", flags={"config": "absent.yaml"}, on_finish_action="keep_pod", **SHARED
    )
"""

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]


def test_a_pod_of_a_restricted_namespace_trains_and_goes_by_the_shipped_role_and_a_refusal_is_final(
    own_place: Place, train_image: str, tmp_path: Path
) -> None:
    (tmp_path / "wine.yaml").write_text(WINE)
    own_place.admin("create", "configmap", "experiments", f"--from-file={tmp_path / 'wine.yaml'}")
    (tmp_path / "dags").mkdir()
    dag = DAG.replace("IMAGE", train_image).replace("NAMESPACE", own_place.namespace)
    (tmp_path / "dags" / "pods.py").write_text(dag)
    token = least_privileged(own_place.admin, "airflow", ROOT / "k8s" / "pods-role.yaml")
    kubeconfig = kubeconfig_of(own_place.admin, token, tmp_path / "kubeconfig")

    runs = project_of(tmp_path, tmp_path / "dags", {**os.environ, "KUBECONFIG": str(kubeconfig)}).run('[["pods", {}]]')

    assert runs == [{"dag": "pods", "state": "failed", "tasks": {"train": "success", "refused": "failed"}}]
    pods = own_place.admin.json("get", "pods")["items"]
    assert [pod["spec"]["containers"][0]["command"] for pod in pods] == [["winnow", "train", "--config", "absent.yaml"]]

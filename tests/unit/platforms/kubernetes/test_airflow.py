from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.platforms.docker.test_airflow import Image
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms.airflow_stack import AirflowRequest
from winnow.platforms.kubernetes.airflow import KubernetesAirflow, KubernetesAirflowPlan
from winnow.platforms.kubernetes.manifests import named

ROOT = Path(__file__).parents[4]


def planned(home: Path, stack: ClusterStackRecord | None = None) -> KubernetesAirflowPlan:
    settings = Settings(home, "", "", "", "", stack=stack)
    return KubernetesAirflow(settings, Image, ROOT).plan(AirflowRequest(port=8181, parallelism=3))


def test_manifests_have_the_image_and_the_values_that_were_asked_for(tmp_path: Path) -> None:
    made = planned(tmp_path).manifests
    pods = [each["spec"]["template"]["spec"] for each in made if "template" in each.get("spec", {})]
    images = [one["image"] for pod in pods for one in (*pod.get("initContainers", ()), *pod["containers"])]
    assert sorted(images) == ["postgres:15-bookworm", *["winnow-airflow:mine"] * 8]
    settings = named(made, "ConfigMap", "winnow-airflow")["data"]
    assert (settings["AIRFLOW__CORE__PARALLELISM"], settings["AIRFLOW__API__BASE_URL"]) == (
        "3",
        "http://localhost:8181",
    )


def test_tasks_use_the_tracking_stack_of_the_cluster(tmp_path: Path) -> None:
    record = ClusterStackRecord(
        "lab", "default", "http://winnow-mlflow:5000", "postgresql://winnow@winnow-postgres/winnow"
    )
    made = named(planned(tmp_path, record).manifests, "Deployment", "winnow-airflow-scheduler")
    scheduler, triggerer = made["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in scheduler["env"]] == [
        "WINNOW_DB_PASSWORD",
        "WINNOW_STORAGE",
        "MLFLOW_TRACKING_URI",
    ]
    assert "env" not in triggerer


def test_secrets_are_in_a_file_for_kubectl_and_not_in_the_manifests(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert not any(value in plan.render() for value in plan.secrets.values())
    KubernetesAirflow(Settings(tmp_path, "", "", "", ""), Image, ROOT).start(plan, 1)
    assert plan.secrets_file.read_text() == "".join(f"{name}={value}\n" for name, value in plan.secrets.items())
    assert f"--from-env-file={plan.secrets_file}" in plan.render()


def test_what_kubectl_does_names_its_command(tmp_path: Path) -> None:
    stack = KubernetesAirflow(Settings(tmp_path, "", "", "", ""), Image, ROOT)
    with pytest.raises(InputError, match="kubectl logs --tail 5 deployment/winnow-airflow-triggerer"):
        stack.logs("triggerer", 5, follow=False)
    with pytest.raises(InputError, match=r"-l winnow\.airflow"):
        stack.plan_end(volumes=False)

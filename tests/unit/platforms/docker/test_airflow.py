from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.config.stack_record import StackRecord
from winnow.platforms.airflow_stack import AirflowRequest, keep_secrets, known_secrets
from winnow.platforms.deployer import mute
from winnow.platforms.docker.airflow import ALL_SERVICES, COMPOSE_FILE, DockerAirflow
from winnow.platforms.images import Show, silent

ROOT = Path(__file__).parents[4]
NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:1"}


@dataclass(frozen=True)
class Image:
    """An image that is planned and never built."""

    tag: str = "winnow-airflow:mine"
    unknown: tuple[str, ...] = ()

    def render(self) -> str:
        return "docker build ."

    def find(self) -> None:
        return None

    def build(self, show: Show = silent) -> str:
        raise AssertionError


def airflow(home: Path, stack: StackRecord | None = None) -> DockerAirflow:
    settings = Settings(home, "", "", "http://mlflow:5000", "postgresql://winnow:hush@postgres/winnow", stack=stack)
    return DockerAirflow(settings, Image, project="mine", folder=ROOT, say=mute, environment=NO_ENGINE)


def test_a_plan_is_shown_without_an_engine_and_names_no_secret(tmp_path: Path) -> None:
    record = StackRecord("mine", "mine_inside", "compose.yaml", ".env", "http://127.0.0.1:5500", "http://mlflow:5000")
    plan = airflow(tmp_path, record).plan(AirflowRequest(port=8181, parallelism=3), is_dry_run=True)
    secrets = tmp_path / "airflow/docker/secrets.env"
    connection = '{"conn_type": "generic", "extra": {"project": "/workspace", "winnow": "/opt/venv/bin/winnow"}}'
    assert plan.render().splitlines() == [
        f"write {secrets} (0600) unless it exists: AIRFLOW__CORE__FERNET_KEY, AIRFLOW__API_AUTH__JWT_SECRET, "
        "AIRFLOW__API__SECRET_KEY, AIRFLOW_DB_PASSWORD, AIRFLOW_ADMIN_PASSWORD",
        "run docker build .",
        f"run AIRFLOW_OWNER={tmp_path} AIRFLOW_IMAGE=winnow-airflow:mine AIRFLOW_PORT=8181 AIRFLOW_PARALLELISM=3 "
        f"'AIRFLOW_CONN_WINNOW_DEFAULT={connection}' AIRFLOW_NETWORK=mine_inside AIRFLOW_NETWORK_IS_EXTERNAL=true "
        "AIRFLOW_TRACKING_URI=http://mlflow:5000 'AIRFLOW_STORAGE=***' docker compose --project-name mine-airflow "
        f"--file {ROOT / COMPOSE_FILE} --env-file /dev/null up --detach --wait --no-build --quiet-pull "
        "--remove-orphans",
        "wait until healthy: api-server, scheduler, dag-processor, triggerer",
        "publish the page at http://127.0.0.1:8181",
    ]
    assert not any(value in repr(plan) for value in plan.secrets.values())
    assert list(tmp_path.iterdir()) == []


def test_without_a_tracking_stack_verbs_keep_studies_in_the_volume(tmp_path: Path) -> None:
    plan = airflow(tmp_path).plan(AirflowRequest(), is_dry_run=True)
    assert {
        name for name in plan.variables if name.startswith(("AIRFLOW_NETWORK", "AIRFLOW_TRACK", "AIRFLOW_STO"))
    } == {"AIRFLOW_NETWORK"}


def test_secrets_are_private_and_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "airflow/docker/secrets.env"
    made = known_secrets(file)
    keep_secrets(file, made)
    assert known_secrets(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(set(made.values())) == 5


def test_an_engine_that_is_away_is_one_error_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Start Docker"):
        airflow(tmp_path).plan(AirflowRequest())
    assert list(tmp_path.iterdir()) == []


def test_the_services_that_logs_can_be_asked_of_are_those_of_the_compose_file(tmp_path: Path) -> None:
    assert set(yaml.safe_load((ROOT / COMPOSE_FILE).read_text())["services"]) == set(ALL_SERVICES)
    with pytest.raises(InputError, match="expected one of database, migration, api-server"):
        airflow(tmp_path).logs("mlflow", 10, follow=False)

"""What will be started, and where it will be found."""

from dataclasses import replace
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.stack_record import StackRecord
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.docker.stack_plan import (
    DockerStackPlan,
    Port,
    Project,
    plan_stack,
    project_for,
    secrets_of,
    subprocess_environment,
    to_end,
)
from winnow.platforms.docker.stack_settings import choose
from winnow.platforms.images import BuildOptions
from winnow.platforms.stack import redacted

ROOT = Path(__file__).parents[4]
PROJECT = Project("winnow", ROOT / "compose.yaml", ROOT / ".env")


def planned(**given: str) -> DockerStackPlan:
    ports = {"MLFLOW_PORT": "5000", "MINIO_CONSOLE_PORT": "9001"}
    return plan_stack(PROJECT, choose({**ports, **given}, EnvFile(), lambda: "a-generated-one"), BuildOptions())


def test_by_default_everything_is_started_for_this_machine_alone() -> None:
    plan = planned()
    assert plan.services == ("postgres", "minio", "bucket", "mlflow")
    assert plan.ports == (
        Port("postgres", "127.0.0.1", 5532, "POSTGRES_PORT"),
        Port("mlflow", "127.0.0.1", 5000, "MLFLOW_PORT"),
        Port("minio", "127.0.0.1", 9001, "MINIO_CONSOLE_PORT"),
    )
    assert plan.endpoints == {
        "MLflow": "http://127.0.0.1:5000",
        "Postgres": "postgresql+psycopg://winnow@127.0.0.1:5532/winnow",
        "MinIO": "http://127.0.0.1:9001",
        "Secrets": str(ROOT / ".env"),
    }
    assert plan.record == StackRecord(
        project="winnow",
        network="winnow_inside",
        compose_file=str(ROOT / "compose.yaml"),
        env_file=str(ROOT / ".env"),
        tracking_url="http://127.0.0.1:5000",
        worker_tracking_url="http://mlflow:5000",
        storage_url="postgresql+psycopg://winnow@127.0.0.1:5532/winnow",
        worker_storage_url="postgresql+psycopg://winnow@postgres:5432/winnow",
    )
    assert plan.starts == [
        *("docker", "compose", "--project-name", "winnow", "--project-directory", str(ROOT)),
        *("--file", str(ROOT / "compose.yaml"), "--env-file", str(ROOT / ".env")),
        *("--profile", "postgres", "--profile", "minio"),
        *("up", "--detach", "--wait", "--no-build", "--quiet-pull", "--remove-orphans"),
    ]


@pytest.mark.parametrize(
    ("given", "services"),
    [
        ({"MLFLOW_ARTIFACTS_DESTINATION": "s3://mine"}, ("postgres", "mlflow")),
        (
            {"MLFLOW_BACKEND_STORE_URI": "sqlite:////winnow/mlflow.db"},
            ("postgres", "minio", "bucket", "mlflow"),
        ),
        (
            {"MLFLOW_BACKEND_STORE_URI": "mysql://me@db/m", "WINNOW_STORAGE": "postgresql://me@db/w"},
            ("minio", "bucket", "mlflow"),
        ),
        (
            {
                "MLFLOW_BACKEND_STORE_URI": "sqlite:////winnow/mlflow.db",
                "MLFLOW_ARTIFACTS_DESTINATION": "/winnow/artifacts",
                "WINNOW_STORAGE": "postgresql://me@db/w",
            },
            ("mlflow",),
        ),
    ],
)
def test_what_is_elsewhere_is_not_started(given: dict[str, str], services: tuple[str, ...]) -> None:
    assert planned(**given).services == services


def test_a_stack_for_the_network_is_found_at_this_machine() -> None:
    assert planned(WINNOW_BIND="0.0.0.0").record.tracking_url == "http://127.0.0.1:5000"
    plan = planned(WINNOW_BIND="10.0.0.5")
    assert plan.record.tracking_url == "http://10.0.0.5:5000"
    assert [port.address for port in plan.ports if port.service == "minio"] == ["127.0.0.1"]


def test_the_server_s_image_is_built_here_unless_another_is_named() -> None:
    image = planned(EXTRAS="mysql").image
    assert image is not None
    assert (image.target, image.tags, image.arguments) == ("tracking", ("winnow-tracking:winnow",), {"EXTRAS": "mysql"})
    blue = planned(TRACKING_IMAGE="winnow-tracking:blue").image
    assert blue is not None
    assert blue.tags == ("winnow-tracking:blue",)
    assert planned(TRACKING_IMAGE="registry.example.com/mlflow:3").image is None


def test_a_plan_shows_no_password() -> None:
    given = {
        "MLFLOW_BACKEND_STORE_URI": "mysql://me:hidden-one@db/m",
        "WINNOW_STORAGE": "postgresql://me:hidden-two@db/w",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://mine",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "hidden-three",
    }
    text = planned(**given).render()
    assert "a-generated-one" not in text
    assert "hidden" not in text


def test_logs_are_shown_without_secrets() -> None:
    file = choose({}, EnvFile(), lambda: "a-generated-one")
    assert redacted("password 'a-generated-one' is wrong", secrets_of(file)) == "password '***' is wrong"


def test_compose_takes_nothing_behind_the_environment_file_s_back() -> None:
    caller = {"PATH": "/bin", "DOCKER_HOST": "tcp://h", "POSTGRES_PASSWORD": "x", "COMPOSE_PROFILES": "y"}
    assert subprocess_environment(caller) == {"PATH": "/bin", "DOCKER_HOST": "tcp://h"}


def test_a_stack_whose_secrets_are_gone_can_be_removed() -> None:
    placeholders = to_end({"PATH": "/bin"}, None)
    assert placeholders.keys() > {"PATH", "POSTGRES_PASSWORD", "MINIO_ROOT_USER"}


def test_the_stack_in_use_is_meant_wherever_one_is_called(tmp_path: Path) -> None:
    made = tmp_path / "made" / "compose.yaml"
    made.parent.mkdir()
    made.touch()
    record = replace(planned().record, compose_file=str(made), env_file=str(made.with_name(".env")))
    here = Project("winnow", tmp_path / "compose.yaml", tmp_path / ".env")
    for name in ("compose.yaml", "Dockerfile.train"):
        (tmp_path / name).touch()
    assert project_for({}, record, tmp_path) == Project("winnow", made, made.with_name(".env"))
    assert project_for({}, None, tmp_path) == here
    # Its folder was moved to here.
    made.unlink()
    assert project_for({}, record, tmp_path) == here


def test_another_project_s_secrets_are_not_taken(tmp_path: Path) -> None:
    from winnow.platforms.docker.env_file import write

    write(tmp_path / ".env", choose({"WINNOW_PROJECT": "theirs"}, EnvFile(), lambda: "a-generated-one"))
    assert project_for({}, None, tmp_path).name == "theirs"
    with pytest.raises(InputError, match="WINNOW_ENV_FILE"):
        project_for({"WINNOW_PROJECT": "mine"}, None, tmp_path)

"""`winnow mlflow-init --dry-run` shows its plan without an engine, a cluster or a network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.unit.platforms.kubernetes.api_server import kubeconfig, running
from winnow.cli import winnow
from winnow.config.stack_record import StackRecord, render

ROOT = Path(__file__).parents[3]
PREFIXES = ("WINNOW_", "MLFLOW_", "POSTGRES_", "MINIO_", "AWS_", "KUBE", "DOCKER_")
UNSET = {name: None for name in os.environ if name.startswith(PREFIXES)}


@pytest.fixture
def away(tmp_path: Path) -> dict[str, str]:
    """An environment in which no engine answers and no cluster is configured."""
    return {
        "WINNOW_HOME": str(tmp_path / "home"),
        "WINNOW_ENV_FILE": str(tmp_path / "stack.env"),
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "KUBECONFIG": str(tmp_path / "none"),
    }


def run(environment: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(winnow, arguments, env={**UNSET, **environment}, standalone_mode=False)


def init(environment: dict[str, str], *arguments: str) -> Result:
    return run(environment, "mlflow-init", "--dry-run", *arguments)


def kinds(manifests: str) -> set[str]:
    return {each["kind"] for each in yaml.safe_load_all(manifests)}


ALL_KINDS = {"Secret", "ConfigMap", "Service", "StatefulSet", "Deployment", "NetworkPolicy"}


def test_without_an_engine_the_plan_for_docker_is_shown_with_what_is_unknown(
    away: dict[str, str], tmp_path: Path
) -> None:
    done = init(away, "--mlflow-port", "5601", "--minio-console-port", "9601")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"write {tmp_path}/stack.env (0600):"
    assert "  POSTGRES_PASSWORD=***" in lines
    assert [line for line in lines if line.startswith("publish ")] == [
        "publish postgres at 127.0.0.1:5532",
        "publish mlflow at 127.0.0.1:5601",
        "publish minio at 127.0.0.1:9601",
    ]
    assert done.stderr == (
        "not looked up: whether the stack winnow and its volumes exist, and who owns them: no Docker engine answers\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_a_cluster_the_manifests_are_shown_with_what_is_unknown(away: dict[str, str], tmp_path: Path) -> None:
    done = init(away, "--platform", "kubernetes", "--registry", "registry.example.com/me")
    assert done.exit_code == 0, done.output
    assert kinds(done.stdout) == ALL_KINDS
    build, push = [line for line in done.stdout.splitlines() if line.startswith("# ")]
    assert "docker build" in build and push == "# docker push registry.example.com/me/winnow-tracking:ID"
    assert done.stderr.splitlines() == [
        f"not looked up: the cluster and its namespace: kubeconfig {tmp_path}/none: no such file",
        "not looked up: the Secret winnow-tracking, with the passwords and settings of a stack that exists",
        "not looked up: whether starting the stack is permitted there",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_does_not_answer_leaves_only_its_secret_and_permissions_unknown(
    away: dict[str, str], tmp_path: Path
) -> None:
    with running() as api:
        url = api.url
    file = kubeconfig(tmp_path / "kubeconfig", url)
    done = init({**away, "KUBECONFIG": str(file)}, "--platform", "kubernetes")
    assert done.exit_code == 0, done.output
    assert kinds(done.stdout) == ALL_KINDS
    assert done.stderr.splitlines() == [
        "not looked up: the Secret winnow-tracking, with the passwords and settings of a stack that exists: "
        "the cluster does not answer",
        "not looked up: whether starting the stack is permitted there",
    ]


def test_a_start_is_refused_without_its_platform(away: dict[str, str], tmp_path: Path) -> None:
    for platform, place in (("docker", "the Docker engine at "), ("kubernetes", "kubeconfig ")):
        assert str(run(away, "mlflow-init", "--platform", platform).exception).startswith(place)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("platform", "flag", "other"),
    [("docker", "--storage-class", "STORAGE_CLASS"), ("kubernetes", "--mlflow-port", "MLFLOW_PORT")],
)
def test_a_setting_of_the_other_platform_is_refused_where_it_is_typed(
    away: dict[str, str], platform: str, flag: str, other: str
) -> None:
    done = init(away, "--platform", platform, flag, "1")
    assert str(done.exception).startswith(f"{other}: expected a setting of the stack on {platform.capitalize()}, ")
    assert init({**away, other: "5601"}, "--platform", platform).exit_code == 0


def test_the_stack_that_is_in_use_is_the_one_whose_logs_are_asked_for(away: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    record = StackRecord(
        "mine", "mine_inside", str(ROOT / "compose.yaml"), str(tmp_path / ".env"), "http://h", "http://m"
    )
    (home / "stack.json").write_text(render(record))
    done = run({name: text for name, text in away.items() if name != "WINNOW_ENV_FILE"}, "compose-logs", "--dry-run")
    assert done.stdout.startswith("docker compose --project-name mine ")

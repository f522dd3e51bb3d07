"""What workers elsewhere reach, and what is refused before anything starts."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.platforms.kubernetes.api_server import kubeconfig, running
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord, StackRecord
from winnow.orchestrators.preflight import (
    check_code,
    check_secrets_file,
    check_side,
    checked_stores,
    data_file,
    sweep_platform,
)
from winnow.orchestrators.settings import silent_stack
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.lookup import Lookup
from winnow.platforms.table import platform_for

SERVERS = Settings.from_environment(
    {"WINNOW_STORAGE": "postgresql://db:5432/studies", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
)


def experiment(**changes: Any) -> Experiment:
    whole: dict[str, Any] = {
        "name": "a-study",
        "data": {"source": "sklearn:iris"},
        "model": {"factory": "winnow.models:mlp"},
        "search": {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}},
    }
    return Experiment.model_validate({**whole, **changes})


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n")
    found = data_file(experiment(data={"source": str(file), "target": "b"}))
    assert found is not None
    assert found.named == f"{hashlib.sha256(file.read_bytes()).hexdigest()}/rows.csv"


@pytest.mark.parametrize("source", ["sklearn:iris", "s3://bucket/rows.csv", "https://host/rows.csv", "rows.py:load"])
def test_what_workers_have_or_fetch_themselves_is_not_stored(source: str) -> None:
    assert data_file(experiment(data={"source": source})) is None


def test_a_file_on_a_volume_is_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n")
    mounted = {"volumes": [f"{tmp_path}:{tmp_path}"]}
    assert data_file(experiment(data={"source": str(file), "target": "b"}, execution=mounted)) is None
    elsewhere = {"volumes": [f"{tmp_path}:/rows"]}
    assert data_file(experiment(data={"source": str(file), "target": "b"}, execution=elsewhere)) is not None


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.source"):
        data_file(experiment(data={"source": "no/such.csv", "target": "b"}))


def test_a_database_in_a_file_is_stored_and_named_again_where_workers_have_it(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    file.write_text("")
    asked = experiment(data={"source": f"sqlite:{file}", "query": "orders", "target": "b"})
    found = data_file(asked)
    assert found is not None and found.path == file
    assert asked.data.moved_to("/there/shop.db").source == "sqlite:/there/shop.db"


def test_several_files_have_to_be_where_workers_can_reach_them(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")
    data = {"source": str(tmp_path), "target": "b"}
    with pytest.raises(InputError, match="found 2 files of this machine"):
        data_file(experiment(data=data))
    assert data_file(experiment(data=data, execution={"volumes": [f"{tmp_path}:{tmp_path}"]})) is None


@pytest.mark.parametrize("file", ["/elsewhere/net.py", "../net.py"])
def test_code_that_no_image_holds_is_refused(file: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.factory"):
        check_code(experiment(model={"factory": f"{file}:build"}), tmp_path)
    check_code(experiment(model={"factory": "parts/net.py:build"}), tmp_path)


def test_secrets_that_would_enter_the_image_are_refused(tmp_path: Path) -> None:
    def kept_in(file: str) -> Experiment:
        return experiment(execution={"secrets": ["KEY"], "secrets_file": file})

    with pytest.raises(InputError, match=r"execution\.secrets_file"):
        check_secrets_file(kept_in("secrets.txt"), tmp_path)
    for file in ("secrets.env", ".secrets", "/run/secrets.txt"):
        check_secrets_file(kept_in(file), tmp_path)


def test_stores_that_are_files_name_the_command_that_makes_servers() -> None:
    with pytest.raises(InputError, match="make mlflow-init"):
        checked_stores(Settings.from_environment({}), "make mlflow-init")
    checked_stores(SERVERS, "make mlflow-init")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_an_address_that_means_the_worker_itself_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="WINNOW_WORKER_TRACKING_URI"):
        checked_stores(replace(SERVERS, worker_tracking_uri=f"http://{host}:5000"), "make mlflow-init")


def settings_with_stack(home: Path, port: int) -> Settings:
    record = StackRecord(
        project="winnow",
        network="winnow_inside",
        compose_file=str(home / "compose.yaml"),
        env_file=str(home / ".env"),
        tracking_url=f"http://127.0.0.1:{port}",
        worker_tracking_url="http://mlflow:5000",
        storage_url=f"postgresql+psycopg://winnow@127.0.0.1:{port}/winnow",
        worker_storage_url="postgresql+psycopg://winnow@postgres:5432/winnow",
    )
    uri, storage = record.tracking_url, f"postgresql+psycopg://winnow:hidden@127.0.0.1:{port}/winnow"
    return Settings(home, uri, storage, record.worker_tracking_url, storage, record.network, record)


def test_a_stack_that_is_down_is_said_with_the_command_that_starts_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = settings_with_stack(tmp_path, listening.getsockname()[1])
        assert silent_stack(settings) is None
    said = silent_stack(settings)
    assert said is not None and "make mlflow-init" in said and "connection refused" in said
    assert "hidden" not in said


def test_a_stack_that_nobody_uses_may_be_down(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = settings_with_stack(tmp_path, listening.getsockname()[1])
    elsewhere = replace(settings, tracking_uri="http://mlflow.example:80", storage_url="sqlite:////srv/s.db")
    assert silent_stack(elsewhere) is None
    assert silent_stack(SERVERS) is None


def test_containers_here_are_refused_stores_that_only_pods_reach() -> None:
    stack = ClusterStackRecord(
        "a-cluster", "ml", "http://winnow-mlflow.ml.svc:5000", "postgresql://winnow-postgres.ml.svc/w"
    )
    inside = replace(SERVERS, worker_tracking_uri=stack.tracking_url, worker_storage_url=stack.storage_url, stack=stack)
    for settings in (
        inside,
        replace(inside, worker_storage_url=SERVERS.worker_storage_url),
        replace(inside, worker_tracking_uri=SERVERS.worker_tracking_uri),
    ):
        with pytest.raises(InputError, match="the stack in namespace ml") as refused:
            check_side(settings, platform_for("docker", settings))
        assert "make train-kubernetes" in refused.value.remedy
    check_side(inside, platform_for("kubernetes", settings))
    for settings in (replace(SERVERS, stack=stack), SERVERS):
        check_side(settings, platform_for("docker", settings))


def test_pods_are_refused_stores_that_only_containers_on_their_network_reach(tmp_path: Path) -> None:
    here = settings_with_stack(tmp_path, 5500)
    assert isinstance(here.stack, StackRecord) and here.stack.worker_storage_url is not None
    inside = replace(here, worker_storage_url=here.stack.worker_storage_url)
    elsewhere = {"worker_tracking_uri": "http://mlflow.example:80", "worker_storage_url": "postgresql://db.example/w"}
    for settings in (
        inside,
        replace(inside, worker_tracking_uri=elsewhere["worker_tracking_uri"]),
        replace(inside, worker_storage_url=elsewhere["worker_storage_url"]),
    ):
        with pytest.raises(InputError, match="the stack at http://127") as refused:
            check_side(settings, platform_for("kubernetes", settings))
        assert "make mlflow-init PLATFORM=kubernetes" in refused.value.remedy
    check_side(inside, platform_for("docker", settings))
    of_their_own = replace(here.stack, storage_url=None, worker_storage_url=None)
    for stack in (here.stack, of_their_own, None):
        check_side(replace(inside, **elsewhere, stack=stack), platform_for("kubernetes", settings))


def test_pods_are_refused_them_before_the_cluster_is_asked_for_anything(tmp_path: Path) -> None:
    here = settings_with_stack(tmp_path, 5500)
    assert isinstance(here.stack, StackRecord) and here.stack.worker_storage_url is not None
    inside = replace(here, worker_storage_url=here.stack.worker_storage_url)
    with running() as api:
        kubeconfig(tmp_path / "kubeconfig", api.url)
        with pytest.raises(InputError, match="those of a Docker network"):
            request = SweepRequest(experiment(), platform="kubernetes")
            sweep_platform(request, inside, Lookup(), {"KUBECONFIG": str(tmp_path / "kubeconfig")})
    assert api.log == []

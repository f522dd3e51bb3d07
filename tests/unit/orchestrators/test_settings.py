"""Which cluster a verb means, and how it reaches the stores there: over real HTTP, with an API that is made up."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, FakeApi, kubeconfig, refuse, running
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord, render
from winnow.orchestrators.settings import current, silent_stack
from winnow.platforms.kubernetes.stack_plan import labels_of
from winnow.platforms.kubernetes.stores import cluster_named, cluster_of, diagnosis_of

IN_NAMESPACE = f"/api/v1/namespaces/{NAMESPACE}"
STACK = ClusterStackRecord(
    context="here",
    namespace=NAMESPACE,
    tracking_url=f"http://winnow-mlflow.{NAMESPACE}.svc:5000",
    storage_url=f"postgresql+psycopg://winnow@winnow-postgres.{NAMESPACE}.svc:5432/winnow",
)


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A cluster with the stack's Secret."""
    with running() as listening:
        password = base64.b64encode(b"hidden").decode()
        listening.objects[f"{IN_NAMESPACE}/secrets/winnow-tracking"] = {"data": {"WINNOW_DB_PASSWORD": password}}
        yield listening


@pytest.fixture
def environment(api: FakeApi, tmp_path: Path) -> dict[str, str]:
    """One in which the stack is in use."""
    (tmp_path / "stack.json").write_text(render(STACK))
    return {"KUBECONFIG": str(kubeconfig(tmp_path / "kubeconfig", api.url)), "WINNOW_HOME": str(tmp_path)}


def test_a_verb_that_may_not_reach_the_stores_is_refused_before_it_reads_any(
    api: FakeApi, environment: dict[str, str]
) -> None:
    api.allowed = {"list pods", "get secrets"}
    with pytest.raises(InputError, match="create pods/portforward, get pods/portforward") as refused:
        current(environment)
    assert "permission for using the stack in namespace place" in refused.value.expected
    assert {each.method for each in api.asked} == {"POST"}


def test_a_stack_of_which_nothing_is_used_needs_no_permission(api: FakeApi, environment: dict[str, str]) -> None:
    api.allowed = set()
    current({**environment, "MLFLOW_TRACKING_URI": "http://mine:1", "WINNOW_STORAGE": "postgresql://mine/w"})
    assert api.asked == []


def test_why_no_connection_came_about_is_told(api: FakeApi, environment: dict[str, str]) -> None:
    for role in ("mlflow", "postgres"):
        metadata = {"name": f"{role}-0", "labels": labels_of(role), "creationTimestamp": "2026-01-01T00:00:00Z"}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        api.put(f"{IN_NAMESPACE}/pods/{role}-0", {"kind": "Pod", "metadata": metadata, "status": status})
    api.answers[f"{IN_NAMESPACE}/pods/mlflow-0/portforward"] = refuse(500, "error dialing backend: EOF")
    settings = current(environment)
    told = Settings.from_environment(environment)
    assert silent_stack(told, environment) is None
    with socket.create_connection(("127.0.0.1", int(settings.tracking_uri.rpartition(":")[2]))):
        deadline = time.monotonic() + 10
        while not diagnosis_of(STACK, "mlflow") and time.monotonic() < deadline:
            time.sleep(0.02)
    said = silent_stack(told, environment)
    assert said is not None
    assert "the cluster's API server, found to mlflow: " in said and "error dialing backend: EOF" in said


def test_mlflow_in_a_cluster_answers_here_on_the_port_that_is_chosen(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    # A forward is opened once per process and stack.
    (tmp_path / "stack.json").write_text(render(replace(STACK, storage_url="postgresql://another.example/w")))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = current({**environment, "WINNOW_STORAGE": "postgresql://mine/w"}, choose_port=lambda: port)
    assert (settings.tracking_uri, settings.worker_tracking_uri) == (f"http://127.0.0.1:{port}", STACK.tracking_url)


def test_the_stack_s_own_stores_are_reached_where_another_cluster_is_asked_for(
    api: FakeApi, environment: dict[str, str]
) -> None:
    asked = {**environment, "WINNOW_NAMESPACE": "another"}
    assert cluster_named(STACK, asked).namespace == "another"
    assert cluster_of(STACK, asked).namespace == NAMESPACE
    assert cluster_named(None, environment).namespace == NAMESPACE

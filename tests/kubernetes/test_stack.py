"""The stack, really up in a namespace: found by every verb, kept by `mlflow-remove`, gone with its volumes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.places import ROOT, Place, place
from tests.remote_workers import REACHES
from tests.unit.tracking.made_up import sweep
from tests.winnow_command import winnow
from winnow.config.settings import Settings
from winnow.orchestrators.settings import current
from winnow.orchestrators.stack import difference
from winnow.study.database import Database
from winnow.tracking.data_files import DataFiles
from winnow.tracking.mlflow_tracker import MlflowTracker

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

BIG = 20_000_000
SERVICES = ("postgres", "minio", "mlflow")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace whose stack these tests may break, remove and bring back."""
    with place(tmp_path_factory.mktemp("stack")) as made:
        started = winnow("mlflow-init", "--platform", "kubernetes", env=made.environment)
        assert started.returncode == 0, started.stderr
        assert f"the Secret winnow-tracking in namespace {made.namespace}" in started.stdout
        yield made


@pytest.fixture(scope="module")
def image(stack: Place) -> str:
    """MLflow's image as the nodes find it: asked for before anything is changed."""
    (mlflow,) = stack.admin.json("get", "deployment", "winnow-mlflow")["spec"]["template"]["spec"]["containers"]
    return str(mlflow["image"])


def settings_of(where: Place) -> Settings:
    return current(where.environment)


def passwords(where: Place) -> dict[str, str]:
    found: dict[str, str] = where.admin.json("get", "secret", "winnow-tracking")["data"]
    return found


def pods(where: Place) -> dict[str, str]:
    """Pods of the stack by name, each with what tells it from another of its name."""
    found = where.admin.json("get", "pods", "--selector", "winnow.stack=tracking")["items"]
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}


def test_starting_it_again_changes_nothing(stack: Place, image: str) -> None:
    before = passwords(stack), pods(stack)
    assert len(before[1]) == 3
    assert difference("kubernetes", say=print, folder=ROOT, environment=stack.environment) == ""
    began = time.monotonic()
    again = winnow("mlflow-init", "--platform", "kubernetes", env=stack.environment)
    assert again.returncode == 0, again.stderr
    assert "waiting" not in again.stderr
    assert time.monotonic() - began < 60
    assert (passwords(stack), pods(stack)) == before


def test_secrets_stay_where_they_are(stack: Place) -> None:
    import base64

    planned = winnow("mlflow-init", "--platform", "kubernetes", "--dry-run", env=stack.environment)
    by_hand = winnow("kubernetes-secrets", "--dry-run", env=stack.environment)
    record = (stack.home / "stack.json").read_text()
    values = [base64.b64decode(text).decode() for name, text in passwords(stack).items() if "PASSWORD" in name]
    assert len(set(values)) == len(values) == 4
    for text in (planned.stdout, by_hand.stdout, record, stack.admin("get", "pods,deployments", "--output", "yaml")):
        assert text
        assert not any(value in text for value in values)
    assert {each["kind"] for each in yaml.safe_load_all(planned.stdout)} == {
        *("Secret", "ConfigMap", "Service", "StatefulSet", "Deployment", "NetworkPolicy")
    }


def test_a_verb_says_which_store_it_uses_and_jobs_opens_none(stack: Place) -> None:
    said = winnow("cancel", "--study", "none-of-that-name", "--platform", "local", env=stack.environment)
    first = said.stderr.splitlines()[0]
    assert first.startswith(f"store: the stack in namespace {stack.namespace} of the cluster {_context(stack)} (`")
    assert "mlflow-remove" in first and first.endswith(" ends it)")
    without_cluster = {**stack.environment, "KUBECONFIG": str(stack.home / "none")}
    listed = winnow("jobs", "--platform", "local", env=without_cluster)
    assert listed.returncode == 0, listed.stderr


def _context(where: Place) -> str:
    return str(json.loads((where.home / "stack.json").read_text())["context"])


def test_logs_are_asked_of_kubectl(stack: Place) -> None:
    refused = winnow("compose-logs", "--service", "mlflow", env=stack.environment)
    assert refused.returncode == 2
    assert f"kubectl logs --namespace {stack.namespace} --selector winnow.stack=tracking,winnow.role=mlflow" in (
        refused.stderr
    )


def test_the_pages_are_held_open_until_they_are_left(stack: Place) -> None:
    command = [sys.executable, "-m", "winnow", "ui"]
    with subprocess.Popen(command, env=dict(stack.environment), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        host, _, port = address.removeprefix("http://").partition(":")
        with closing(socket.create_connection((host, int(port)), 10)) as opened:
            opened.sendall(f"GET / HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            assert b" 200 " in opened.recv(100)
        assert process.poll() is None
        process.terminate()
        process.wait(10)


def test_open_settings_outlive_restarts_and_carry_big_artifacts(stack: Place, tmp_path: Path) -> None:
    settings = settings_of(stack)
    assert settings.worker_tracking_uri == f"http://winnow-mlflow.{stack.namespace}.svc:5000"
    assert f"@winnow-postgres.{stack.namespace}.svc:5432/winnow" in settings.worker_storage_url
    database = Database(settings.storage_url, create=True)
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(BIG))
    files = DataFiles(settings.tracking_uri)
    digest = files.put(big)
    assert files.fetch(digest, big.name, tmp_path / "before").read_bytes() == big.read_bytes()
    MlflowTracker(settings.tracking_uri).start_sweep(sweep("kept"))

    stack.admin("delete", "pod", "--selector", "winnow.role in (postgres, mlflow)", "--timeout=60s")
    stack.admin("rollout", "status", "statefulset/winnow-postgres", "--timeout=60s")
    stack.admin("rollout", "status", "deployment/winnow-mlflow", "--timeout=90s")

    assert files.fetch(digest, big.name, tmp_path / "after").read_bytes() == big.read_bytes()
    MlflowTracker(settings.tracking_uri).start_sweep(sweep("after"))
    Database(settings.storage_url).close()
    database.close()


def test_a_worker_reaches_the_server_and_the_studies_by_their_services(stack: Place) -> None:
    settings = settings_of(stack)
    said = stack.admin(
        "exec",
        "deployment/winnow-mlflow",
        "--container=mlflow",
        "--",
        "env",
        f"URI={settings.worker_tracking_uri}",
        f"STORAGE={settings.worker_storage_url}",
        "python",
        "-c",
        REACHES,
    )
    assert json.loads(said) == [200, "winnow", "refused"]


def test_a_setting_that_the_cluster_refuses_changes_nothing(stack: Place) -> None:
    before = passwords(stack), pods(stack)
    refused = winnow("mlflow-init", "--platform", "kubernetes", "--minio-volume", "1Ti", env=stack.environment)
    assert refused.returncode == 2
    assert "winnow-minio" in refused.stderr
    assert (passwords(stack), pods(stack)) == before


@pytest.mark.parametrize("overlay", ["tracking", "tracking-own-s3", "tracking-own-postgres", "tracking-own-stores"])
def test_the_cluster_takes_what_kubectl_makes_of_the_folders(stack: Place, overlay: str) -> None:
    stack.admin("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", str(ROOT / "k8s" / overlay))


def test_an_image_that_is_not_there_fails_soon_and_in_the_cluster_s_words(stack: Place) -> None:
    command = ["mlflow-init", "--platform", "kubernetes", "--tracking-image", "localhost:1/none:1"]
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "winnow", *command],
        env=dict(stack.environment),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as failing:
        stack.admin("wait", "pod", "--selector=winnow.role=mlflow", "--for=delete", "--timeout=60s")
        # Meanwhile: a verb that needs the server has patience of its own.
        silent = winnow("select-model", env=stack.environment)
        _, said = failing.communicate(timeout=100)
    assert failing.returncode == 1, said
    assert time.monotonic() - began < 100
    error = said[said.index("error: ") :]
    assert error.startswith(f"error: the stack in namespace {stack.namespace}: mlflow failed.")
    assert "localhost:1/none:1" in error and "ImagePull" in error and "--- events of winnow-mlflow" in error
    assert silent.returncode != 0
    assert "found no ready pod of mlflow" in silent.stderr and "mlflow-init" in silent.stderr


def test_removed_it_keeps_its_data_and_comes_back_with_it_by_hand(stack: Place, image: str, tmp_path: Path) -> None:
    before = passwords(stack)
    removed = winnow("mlflow-remove", env=stack.environment)
    assert removed.returncode == 0, removed.stderr
    assert stack.admin.names("all,networkpolicy", "--selector", "winnow.stack=tracking") == []
    assert Settings.from_environment(stack.environment).stack is None

    made = winnow("kubernetes-secrets", env=stack.environment)
    assert made.returncode == 0 and "unchanged" in made.stdout
    assert passwords(stack) == before
    folder = tmp_path / "mine"
    folder.mkdir()
    name, _, ref = image.partition("@")
    kustomization = {
        "resources": [os.path.relpath(ROOT / "k8s" / "tracking", folder)],
        "images": [{"name": "winnow-tracking", "newName": name, "digest": ref}]
        if ref
        else [{"name": "winnow-tracking", "newName": name.rpartition(":")[0], "newTag": name.rpartition(":")[2]}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    stack.admin("apply", "-k", str(folder))
    stack.admin("rollout", "status", "statefulset/winnow-postgres", "--timeout=60s")
    stack.admin("rollout", "status", "deployment/winnow-mlflow", "--timeout=120s")

    # The image that was not there is what was set last; an empty value brings the default back.
    adopted = winnow("mlflow-init", "--platform", "kubernetes", "--tracking-image", "", env=stack.environment)
    assert adopted.returncode == 0, adopted.stderr
    from mlflow import MlflowClient

    settings = settings_of(stack)
    assert MlflowClient(settings.tracking_uri).get_experiment_by_name("kept") is not None
    Database(settings.storage_url).close()


def test_with_its_volumes_all_of_it_goes(stack: Place) -> None:
    removed = winnow("mlflow-remove", "--platform", "kubernetes", "--volumes", env=stack.environment)
    assert removed.returncode == 0, removed.stderr
    stack.admin("wait", "pvc", "--selector", "winnow.stack=tracking", "--for=delete", "--timeout=60s")
    kinds = "all,networkpolicy,pvc,secret,configmap"
    assert stack.admin.names(kinds, "--selector", "winnow.stack=tracking") == []


def test_passwords_that_are_gone_while_volumes_are_there_are_one_error(stack: Place) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-winnow-postgres-0", "labels": {"winnow.stack": "tracking"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    stack.admin("create", "--filename", "-", given=json.dumps(claim))
    for verb in (("mlflow-init", "--platform", "kubernetes"), ("kubernetes-secrets",)):
        refused = winnow(*verb, env=stack.environment)
        assert refused.returncode == 2
        assert "data-winnow-postgres-0" in refused.stderr and "VOLUMES=1" in refused.stderr
    assert stack.admin.names("secret", "--selector", "winnow.stack=tracking") == []


def test_nobody_s_permissions_are_named_before_anything_is_made(stack: Place) -> None:
    stack.admin("delete", "rolebinding", "--all")
    refused = winnow("mlflow-init", "--platform", "kubernetes", env=stack.environment)
    assert refused.returncode == 2
    assert "create statefulsets.apps" in refused.stderr and "patch secrets" in refused.stderr
    assert stack.admin.names("statefulset,deployment") == []

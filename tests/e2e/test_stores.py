"""Artifact stores of clouds, opened as the tracking server opens them, on servers that speak their protocols.

The environment and the check come from the plan of a stack on a cluster. Moto speaks S3, gcp-storage-emulator Cloud
Storage, Azurite (from npm) Azure Blob. None of them checks a key or knows identities.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.tools import installed
from winnow.platforms.kubernetes.stack_plan import Place, plan_stack
from winnow.platforms.kubernetes.stack_settings import choose
from winnow.platforms.stack_variables import new_password

pytestmark = pytest.mark.tools("stores")

AZURITE = "azurite@3.37.0"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key that Azurite documents for its one account."""

SERVER = """\
import json, os, sys
sys.path.append(sys.argv[1])
address, other, program = sys.argv[2:]
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
check = {"__name__": "check"}
exec(program, check)
opened, closed = check["check"](address), check["check"](other)
repository = get_artifact_repository(address)
os.makedirs("model/code")
open("model/code/a b.txt", "w").write("ü" * 1000)
repository.log_artifacts("model", "1/model")
files = [one.path for one in repository.list_artifacts("1/model/code")]
back = open(os.path.join(repository.download_artifacts("1/model", "."), "code/a b.txt")).read()
repository.delete_artifacts("1/model")
left = [one.path for one in repository.list_artifacts("1/model/code")]
print(json.dumps([opened, closed, files, back == "ü" * 1000, left]))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(command: Sequence[Any], port: int, folder: Path) -> Iterator[None]:
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()
                    time.sleep(0.05)
            yield
        finally:
            # Azurite would wait for idle connections first.
            process.kill()
            process.wait()


def of_plan(given: dict[str, str]) -> tuple[dict[str, str], str]:
    """The environment of the container that opens the store, and its program."""
    chosen = choose(given, None, new_password)
    plan = plan_stack(Path("k8s/tracking"), chosen, "image", Place("context", "ml"))
    server = next(each for each in plan.manifests if each["kind"] == "Deployment")
    (store,) = server["spec"]["template"]["spec"]["initContainers"]
    environment = {}
    for each in store["env"]:
        if "value" in each:
            environment[each["name"]] = each["value"].replace("store.test", "127.0.0.1")
        elif (reference := each["valueFrom"].get("secretKeyRef")) and reference["key"] in chosen.secret:
            environment[each["name"]] = chosen.secret[reference["key"]]
    return environment, store["command"][2]


def used(given: dict[str, str], other: str, folder: Path, site: str) -> Any:
    environment, program = of_plan(given)
    environment |= {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}
    address = environment["MLFLOW_ARTIFACTS_DESTINATION"]
    command = [sys.executable, "-c", SERVER, site, address, other, program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def made(python: Path, program: str) -> None:
    subprocess.run([python, "-c", program], check=True, capture_output=True, text=True, timeout=60)


def packages(python: Path) -> str:
    program = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    done = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_artifacts_are_kept_in_s3(tmp_path: Path) -> None:
    python, port = installed("stores"), free_port()
    with running([python, "-m", "moto.server", "-p", str(port)], port, tmp_path):
        reached = f"endpoint_url='http://127.0.0.1:{port}', aws_access_key_id='a', aws_secret_access_key='b'"
        made(python, f"import boto3; boto3.client('s3', 'us-east-1', {reached}).create_bucket(Bucket='acme')")
        given = {
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://acme/runs",
            "MLFLOW_S3_ENDPOINT_URL": f"http://store.test:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        found = used(given, "s3://none-such", tmp_path, packages(python))
    assert found == [
        [0, "s3://acme/runs can be opened"],
        [
            1,
            "MlflowException: Failed to list artifacts in s3://none-such: The specified bucket does not exist",
        ],
        ["1/model/code/a b.txt"],
        True,
        [],
    ]


def test_artifacts_are_kept_in_cloud_storage(tmp_path: Path) -> None:
    python, port = installed("stores"), free_port()
    program = (
        "from gcp_storage_emulator.server import create_server; "
        f"create_server('127.0.0.1', {port}, in_memory=True, default_bucket='acme').run()"
    )
    overlay = f"""\
kind: Deployment
metadata: {{name: winnow-mlflow}}
spec:
  template:
    spec:
      containers:
        - {{name: mlflow, env: [{{name: STORAGE_EMULATOR_HOST, value: "http://127.0.0.1:{port}"}}]}}
"""
    with running([python, "-c", program], port, tmp_path):
        given = {"MLFLOW_ARTIFACTS_DESTINATION": "gs://acme/runs", "TRACKING_OVERLAY": overlay}
        found = used(given, "gs://none-such", tmp_path, packages(python))
    opened, (status, sentence), files, is_back, left = found
    assert (opened, files, is_back, left) == ([0, "gs://acme/runs can be opened"], ["1/model/code/a b.txt"], True, [])
    assert (status, sentence.split(":")[0]) == (1, "NotFound")


def test_artifacts_are_kept_in_azure_blob(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which installs Azurite, is not on the PATH")
    python, port = installed("stores"), free_port()
    folder = Path(os.environ["WINNOW_TOOLS"]) / "azurite"
    azurite = folder / "node_modules" / ".bin" / "azurite-blob"
    if not azurite.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "install", "--no-audit", "--no-fund", "--prefix", folder, AZURITE], check=True)
    command = [azurite, "--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--blobPort", str(port)]
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )
    address = "wasbs://{}@devstoreaccount1.blob.core.windows.net/runs"
    with running(command, port, tmp_path):
        service = f"azure.storage.blob.BlobServiceClient.from_connection_string({connection!r})"
        made(python, f"import azure.storage.blob; {service}.create_container('acme')")
        given = {
            "MLFLOW_ARTIFACTS_DESTINATION": address.format("acme"),
            "AZURE_STORAGE_CONNECTION_STRING": connection,
        }
        found = used(given, address.format("none-such"), tmp_path, packages(python))
    assert found == [
        [0, f"{address.format('acme')} can be opened"],
        [1, "ResourceNotFoundError: The specified container does not exist."],
        ["1/model/code/a b.txt"],
        True,
        [],
    ]


def test_an_image_without_a_store_s_package_is_named() -> None:
    pytest.importorskip("mlflow")
    environment, program = of_plan({"MLFLOW_ARTIFACTS_DESTINATION": "abfss://acme@account.dfs.core.windows.net"})
    environment |= {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (3, "the package azure is not in MLflow's image\n")

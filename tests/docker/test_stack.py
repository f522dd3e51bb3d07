"""The stack, really up: found by every verb, kept by `mlflow-remove`, gone with its volumes."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from tests.docker.stacks import RunningStack, free_port, running_stack
from tests.remote_workers import REACHES
from tests.unit.tracking.made_up import bundle, sweep, trial
from winnow.config.settings import Settings
from winnow.platforms.docker.executor import DockerExecutor, DockerWorkers
from winnow.platforms.executor import GroupSpec
from winnow.study.database import Database
from winnow.tracking.data_files import DataFiles
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import TrackingUnavailableError

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def own_stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that these tests may stop, remove and bring back."""
    with running_stack(engine, tmp_path_factory.mktemp("own stack")) as running:
        yield running


def settings_of(stack: RunningStack) -> Settings:
    return Settings.from_environment(stack.env)


def secrets_of(stack: RunningStack) -> str:
    return Path(stack.env["WINNOW_ENV_FILE"]).read_text()


def started_at(stack: RunningStack) -> list[str]:
    return [stack.service(name).attrs["State"]["StartedAt"] for name in ("postgres", "minio", "mlflow")]


def test_starting_it_again_changes_nothing(own_stack: RunningStack) -> None:
    before = secrets_of(own_stack), started_at(own_stack)
    again = own_stack.winnow("mlflow-init")
    assert again.returncode == 0, again.stderr
    assert settings_of(own_stack).tracking_uri in again.stdout
    assert (secrets_of(own_stack), started_at(own_stack)) == before


def test_two_that_start_it_at_once_take_turns(own_stack: RunningStack) -> None:
    own_stack.service("mlflow").remove(force=True)
    before = secrets_of(own_stack)
    with ThreadPoolExecutor() as pool:
        both = list(pool.map(lambda _: own_stack.winnow("mlflow-init"), range(2)))
    assert [each.returncode for each in both] == [0, 0], [each.stderr for each in both]
    assert sum("waiting for another command that is changing the stack" in each.stderr for each in both) == 1
    assert secrets_of(own_stack) == before


def test_only_its_owner_reads_the_secrets_and_nothing_else_has_them(own_stack: RunningStack) -> None:
    path = Path(own_stack.env["WINNOW_ENV_FILE"])
    assert path.stat().st_mode & 0o777 == 0o600
    passwords = [line.partition("=")[2] for line in secrets_of(own_stack).splitlines() if "PASSWORD=" in line]
    assert len(set(passwords)) == len(passwords) == 4
    record = (Path(own_stack.env["WINNOW_HOME"]) / "stack.json").read_text()
    logs = own_stack.winnow("compose-logs", "--lines", "500")
    planned = own_stack.winnow("mlflow-init", "--dry-run")
    for text in (record, logs.stdout, planned.stdout):
        assert text
        assert not any(password in text for password in passwords)


def test_ports_are_this_machine_s_alone_and_services_are_locked_down(own_stack: RunningStack) -> None:
    for name in ("postgres", "minio", "mlflow"):
        host = own_stack.service(name).attrs["HostConfig"]
        addresses = [one["HostIp"] for bound in (host["PortBindings"] or {}).values() for one in bound]
        assert set(addresses) <= {"127.0.0.1"}
        assert (host["ReadonlyRootfs"], host["Privileged"], host["CapDrop"]) == (True, False, ["ALL"])
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert host["Memory"] > 0 and host["NanoCpus"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert own_stack.service("mlflow").attrs["Config"]["User"] == "10001:10001"
    # MinIO publishes its console, and not its S3 port.
    assert list(own_stack.service("minio").attrs["HostConfig"]["PortBindings"]) == ["9001/tcp"]
    console = own_stack.service("minio").ports["9001/tcp"][0]
    with urllib.request.urlopen(f"http://{console['HostIp']}:{console['HostPort']}/login", timeout=10) as page:
        assert (page.status, page.headers["Server"]) == (200, "MinIO Console")


def test_a_worker_reaches_the_server_and_the_studies_but_not_the_artifact_store(
    own_stack: RunningStack, engine: docker.DockerClient
) -> None:
    settings = settings_of(own_stack)
    said = engine.containers.run(
        own_stack.service("mlflow").image.id,
        ["python", "-c", REACHES],
        network=settings.network,
        environment={"URI": settings.worker_tracking_uri, "STORAGE": settings.worker_storage_url, "ARTIFACTS": "minio"},
        labels={"winnow.test": own_stack.project},
        remove=True,
    )
    assert json.loads(said) == [200, "winnow", "refused", "no way to the artifacts"]


def test_artifacts_travel_through_the_server_and_an_outage_of_minio_is_one_to_wait_for(
    own_stack: RunningStack, tmp_path: Path
) -> None:
    uri = settings_of(own_stack).tracking_uri
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    refitted = trial(0, holdout={"f1": 0.95}, holdout_at_ms=trial(0).started_at_ms + 20_000)
    made = bundle(tmp_path / "bundle", refitted)
    with own_stack.without("minio"), pytest.raises(TrackingUnavailableError):
        tracker.log_bundle(record, parent, refitted, made)
    wait_healthy(own_stack, "minio")
    version = tracker.log_bundle(record, parent, refitted, made)
    with own_stack.without("minio"), pytest.raises(TrackingUnavailableError):
        Registry(uri).download_bundle(version, tmp_path / "copy")
    wait_healthy(own_stack, "minio")
    copy = Registry(uri).download_bundle(version, tmp_path / "copy")
    assert (copy / "model.onnx").read_bytes() == (made / "model.onnx").read_bytes()
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b\n1,2\n")
    digest = DataFiles(uri).put(rows)
    assert DataFiles(uri).fetch(digest, "rows.csv", tmp_path / "fetched").read_text() == rows.read_text()


def test_a_verb_says_which_store_it_uses_and_leaves_its_output_clean(own_stack: RunningStack) -> None:
    said = own_stack.winnow("ui")
    uri = settings_of(own_stack).tracking_uri
    assert said.stderr.startswith(f"store: the stack at {uri} (`WINNOW_HOME=")
    assert said.stderr.endswith(" mlflow-remove` ends it)\n")
    assert uri in said.stdout


def test_removed_it_keeps_its_data_and_comes_back_with_it(own_stack: RunningStack) -> None:
    uri, secrets = settings_of(own_stack).tracking_uri, secrets_of(own_stack)
    Database(settings_of(own_stack).storage_url, create=True).close()
    MlflowTracker(uri).start_sweep(sweep("kept"))
    # A worker that ended while no terminal was watching.
    home, study = Path(own_stack.env["WINNOW_HOME"]), f"{own_stack.project}-done"
    workers = DockerWorkers(image=own_stack.service("mlflow").image.id, network=settings_of(own_stack).network)
    executor = DockerExecutor(workers, home, engine=own_stack.engine)
    executor.start(GroupSpec(study, "c0", ("echo", "done"), {}))
    while not executor.status(study, "c0").state.is_over:
        time.sleep(0.1)
    removed = own_stack.winnow("mlflow-remove")
    assert removed.returncode == 0, removed.stderr
    assert own_stack.engine.containers.list(all=True, filters={"label": f"winnow.study={study}"}) == []
    assert next(executor.log(study, "c0")) == "done"
    assert settings_of(own_stack).tracking_uri.startswith("sqlite:///")
    assert secrets_of(own_stack) == secrets
    env_file = Path(own_stack.env["WINNOW_ENV_FILE"])
    elsewhere = env_file.rename(env_file.with_name("elsewhere"))
    refused = own_stack.winnow("mlflow-init")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{own_stack.project}_postgres" in refused.stderr and "VOLUMES=1" in refused.stderr
    assert not env_file.exists()
    elsewhere.rename(env_file)
    back = own_stack.winnow("mlflow-init")
    assert back.returncode == 0, back.stderr
    from mlflow import MlflowClient

    assert settings_of(own_stack).tracking_uri == uri
    assert MlflowClient(uri).get_experiment_by_name("kept") is not None
    Database(settings_of(own_stack).storage_url).close()


def test_a_network_that_somebody_is_on_is_not_removed(own_stack: RunningStack, engine: docker.DockerClient) -> None:
    worker = engine.containers.run(
        own_stack.service("mlflow").image.id,
        ["sleep", "60"],
        name=f"{own_stack.project}-worker",
        network=settings_of(own_stack).network,
        labels={"winnow.test": own_stack.project},
        detach=True,
    )
    try:
        refused = own_stack.winnow("mlflow-remove")
    finally:
        worker.remove(force=True)
    assert refused.returncode == 2
    assert f"{own_stack.project}-worker" in refused.stderr
    assert own_stack.service("mlflow").attrs["State"]["Running"]


def test_a_stack_is_neither_taken_over_nor_removed_by_another_folder(
    engine: docker.DockerClient, own_stack: RunningStack, tmp_path: Path
) -> None:
    elsewhere = {"WINNOW_HOME": str(tmp_path / "home"), "WINNOW_ENV_FILE": str(tmp_path / ".env")}
    other = RunningStack(engine, own_stack.project, {**own_stack.env, **elsewhere})
    before, owner = started_at(own_stack), Path(own_stack.env["WINNOW_ENV_FILE"]).parent
    for command in (("mlflow-init",), ("mlflow-remove", "--volumes"), ("mlflow-remove",)):
        refused = other.winnow(*command)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"found one of {owner}, which opens it with its stack.env" in refused.stderr
    shown = other.winnow("mlflow-remove", "--volumes", "--force", "--dry-run")
    assert shown.returncode == 0
    assert f"the stack {other.project} is one of {owner}, which opens it with its stack.env; removing" in shown.stderr
    assert (started_at(own_stack), list(tmp_path.iterdir())) == (before, [])


def test_ports_that_are_taken_are_one_error_before_anything_is_made(
    engine: docker.DockerClient, own_stack: RunningStack, tmp_path: Path
) -> None:
    env = {**own_stack.env, "WINNOW_HOME": str(tmp_path), "WINNOW_ENV_FILE": str(tmp_path / ".env")}
    other = RunningStack(engine, f"{own_stack.project}b", {**env, "WINNOW_PROJECT": f"{own_stack.project}b"})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one = other.winnow("mlflow-init", "--mlflow-port", str(port), "--postgres-port", str(free_port()))
        theirs = settings_of(own_stack).tracking_uri.rpartition(":")[2]
        both = other.winnow("mlflow-init", "--mlflow-port", theirs, "--postgres-port", str(port))
    assert (one.returncode, both.returncode) == (2, 2)
    assert one.stderr.startswith(f"error: MLFLOW_PORT: expected a free port, found 127.0.0.1:{port}")
    assert both.stderr.startswith(
        f"error: POSTGRES_PORT and MLFLOW_PORT: expected free ports, found 127.0.0.1:{port}, which is taken and "
        f"127.0.0.1:{theirs}, which is taken. Free them, or choose others: `"
    )
    assert list(tmp_path.iterdir()) == []
    assert engine.volumes.list(filters={"label": f"winnow.stack={other.project}"}) == []


def test_an_engine_that_is_not_there_is_one_error(own_stack: RunningStack, engine: docker.DockerClient) -> None:
    away = RunningStack(engine, own_stack.project, {**own_stack.env, "DOCKER_HOST": "tcp://127.0.0.1:1"})
    refused = away.winnow("mlflow-init")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "DOCKER_HOST" in refused.stderr


def wait_healthy(stack: RunningStack, name: str) -> None:
    deadline = time.monotonic() + 60
    while stack.service(name).attrs["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, f"{name} did not become healthy"
        time.sleep(0.3)

"""`winnow jobs`, `logs` and `cancel` on workers of this machine."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, FakeApi, kubeconfig, running
from tests.unit.study.studies import claim, leases_of, make_study
from winnow.cli.jobs import cancel, jobs, logs
from winnow.config.errors import InputError
from winnow.config.stack_record import StackRecord, render
from winnow.platforms.executor import GroupSpec
from winnow.platforms.kubernetes.executor import PERMISSIONS
from winnow.platforms.local.executor import LocalExecutor

AT_WORK = (sys.executable, "-c", "import time; print('at work', flush=True); time.sleep(60)")


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalExecutor]:
    """A study with one worker at work, whose trial is leased."""
    store = make_study(tmp_path)
    claim(leases_of(store), "w0/1")
    executor = LocalExecutor(tmp_path)
    executor.start(GroupSpec("a-study", "w0", AT_WORK, {}))
    deadline = time.monotonic() + 10
    while not list(executor.log("a-study", "w0")) and time.monotonic() < deadline:
        time.sleep(0.02)
    yield executor
    executor.cancel("a-study", "w0", 0.0)


def ask(command: object, home: Path, *flags: str, **variables: str) -> Result:
    assert callable(command)
    environment = {
        "WINNOW_HOME": str(home),
        "WINNOW_STORAGE": f"sqlite:///{home / 'studies.db'}",
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        **variables,
    }
    return CliRunner().invoke(command, flags, env=environment)  # type: ignore[arg-type]


def test_jobs_are_listed_until_they_are_cancelled(tmp_path: Path, executor: LocalExecutor) -> None:
    (listed,) = json.loads(ask(jobs, tmp_path, "--json").stdout)
    started_at = datetime.fromisoformat(listed.pop("started_at"))
    assert listed == {
        "platform": "local",
        "study": "a-study",
        "worker": "w0",
        "state": "running",
        "lacks_nodes": False,
        "has_remains": False,
        "diagnosis": None,
    }
    assert abs((datetime.now(UTC) - started_at).total_seconds()) < 60
    assert "stopped 1 worker" in ask(cancel, tmp_path, "--study", "a-study").stdout
    assert executor.status("a-study", "w0").state.is_over
    assert make_study(tmp_path).counts()["waiting"] == 1
    assert "no workers were running" in ask(cancel, tmp_path, "--study", "a-study").stdout


def test_jobs_are_one_line_each_for_people(tmp_path: Path, executor: LocalExecutor) -> None:
    started_at = executor.status("a-study", "w0").started_at_ms
    assert started_at is not None
    since = datetime.fromtimestamp(started_at / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert ask(jobs, tmp_path).stdout == f"local  a-study  w0  running  since {since}\n"


def test_an_engine_that_does_not_answer_matters_only_where_it_is_asked_for(tmp_path: Path) -> None:
    train = f"WINNOW_HOME={tmp_path} make train CONFIG=…"
    assert ask(jobs, tmp_path).stdout == f"No workers are running on this machine; `{train}` starts some.\n"
    refused = ask(jobs, tmp_path, "--platform", "docker")
    assert "the Docker engine at tcp://" in str(refused.exception)


def test_logs_are_those_of_the_worker_that_was_asked_for(tmp_path: Path, executor: LocalExecutor) -> None:
    assert ask(logs, tmp_path, "--study", "a-study", "--worker", "w0").stdout == "w0 supervisor: at work\n"
    assert executor.groups("a-study")


def test_logs_are_followed_until_the_workers_are_done(tmp_path: Path, executor: LocalExecutor) -> None:
    executor.start(GroupSpec("a-study", "w1", (sys.executable, "-c", "print('done')"), {}))
    ending = threading.Timer(0.5, lambda: executor.cancel("a-study", "w0", 0.0))
    ending.start()
    lines = ask(logs, tmp_path, "--study", "a-study", "--follow").stdout.splitlines()
    ending.join()
    assert sorted(lines) == ["w0 supervisor: at work", "w1 supervisor: done"]


@pytest.mark.parametrize("flags", [["--study", "a-study", "--worker", "w9"], ["--study", "another"]])
def test_logs_of_workers_that_nobody_started_are_refused(
    tmp_path: Path, executor: LocalExecutor, flags: list[str]
) -> None:
    refused = ask(logs, tmp_path, *flags)
    assert refused.exception is not None
    assert "make jobs" in str(refused.exception)


def test_workers_are_stopped_where_the_study_cannot_be_told(tmp_path: Path, executor: LocalExecutor) -> None:
    (tmp_path / "studies.db").rename(tmp_path / "away.db")
    stopped = ask(cancel, tmp_path, "--study", "a-study")
    assert "stopped 1 worker; their trials are returned when the study is resumed" in stopped.stdout
    assert "studies.db" in stopped.stderr
    assert executor.status("a-study", "w0").state.is_over


def test_cancelling_what_nobody_knows_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path)
    refused = ask(cancel, tmp_path, "--study", "another")
    assert isinstance(refused.exception, InputError)
    assert "another" in str(refused.exception)


def test_an_engine_that_is_away_hides_no_workers_of_a_stack(tmp_path: Path) -> None:
    assert ask(jobs, tmp_path).stdout.startswith("No workers")
    stack = StackRecord("a-stack", "inside", "compose.yaml", ".env", "http://127.0.0.1:1", "http://mlflow:5000")
    (tmp_path / "stack.json").write_text(render(stack))
    for command in (jobs, logs, cancel):
        refused = ask(command, tmp_path, "--study", "a-study").exception
        assert isinstance(refused, InputError) and "DOCKER_HOST" in refused.remedy
    assert ask(jobs, tmp_path, "--platform", "local").stdout.startswith("No workers")


def test_workers_are_ended_only_where_all_that_it_takes_is_allowed(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    whole = {str(permission).replace(f".{permission.kind.group}", "") for permission in PERMISSIONS}
    with running(FakeApi(allowed=whole - {"deletecollection jobs"})) as api:
        where = {"KUBECONFIG": str(kubeconfig(tmp_path / "kubeconfig", api.url))}
        flags = ("--study", "a-study", "--platform", "kubernetes")
        assert "no workers were running" in ask(cancel, tmp_path, *flags, **where).stdout
        store.set_stopped(False)
        labels = {"winnow.study": "a-study", "winnow.group": "p0"}
        metadata = {"name": "a-job", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"}
        api.put(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/a-job", {"metadata": metadata, "spec": {}})
        refused = ask(cancel, tmp_path, *flags, **where).exception
    assert isinstance(refused, InputError)
    assert refused.found == "none to deletecollection jobs.batch"
    assert [each for each in api.log if each.startswith("DELETE")] == []
    assert not store.is_stopped()

"""`winnow jobs`, `logs` and `cancel` on workers of this machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.search.studies import claim, leases_of, make_study
from winnow.cli.jobs import cancel, jobs, logs
from winnow.executors.executor import GroupSpec
from winnow.executors.local import LocalExecutor

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


def ask(command: object, home: Path, *flags: str) -> Result:
    assert callable(command)
    environment = {"WINNOW_HOME": str(home), "WINNOW_STORAGE": f"sqlite:///{home / 'studies.db'}"}
    return CliRunner().invoke(command, flags, env=environment)  # type: ignore[arg-type]


def test_jobs_are_listed_until_they_are_cancelled(tmp_path: Path, executor: LocalExecutor) -> None:
    listed = json.loads(ask(jobs, tmp_path, "--json").stdout)
    assert listed == [{"study": "a-study", "worker": "w0", "state": "running"}]
    assert "1 worker(s) stopped" in ask(cancel, tmp_path, "--study", "a-study").stdout
    assert executor.status("a-study", "w0").state.is_over
    assert make_study(tmp_path).counts()["waiting"] == 1
    assert "no workers were at work" in ask(cancel, tmp_path, "--study", "a-study").stdout


def test_logs_are_those_of_the_worker_that_was_asked_for(tmp_path: Path, executor: LocalExecutor) -> None:
    assert ask(logs, tmp_path, "--study", "a-study", "--worker", "w0").stdout == "w0 supervisor: at work\n"
    assert executor.groups("a-study")


@pytest.mark.parametrize("flags", [["--study", "a-study", "--worker", "w9"], ["--study", "another"]])
def test_logs_of_workers_that_nobody_started_are_refused(
    tmp_path: Path, executor: LocalExecutor, flags: list[str]
) -> None:
    refused = ask(logs, tmp_path, *flags)
    assert refused.exception is not None
    assert "winnow jobs" in str(refused.exception)

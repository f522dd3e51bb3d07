"""What every executor promises, over every back-end that exists."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from winnow.executors.executor import Executor, GroupSpec, GroupState, UnknownGroupError
from winnow.executors.local import LocalExecutor
from winnow.executors.memory import MemoryExecutor

SLEEP = "import time; print('at work', flush=True); time.sleep(60)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('at work', flush=True); time.sleep(60)"
)


def group(name: str = "w0", code: str = SLEEP, study: str = "a-study") -> GroupSpec:
    return GroupSpec(study, name, (sys.executable, "-c", code), {"WINNOW_TEST": "1"})


@pytest.fixture(params=["local", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Executor]]:
    """Makes another executor over the same back-end, as another process would have it."""
    memory = MemoryExecutor()
    yield (lambda: LocalExecutor(tmp_path)) if request.param == "local" else (lambda: memory)
    executor = LocalExecutor(tmp_path)
    for left in executor.groups():
        executor.cancel(left.study, left.name, 0.0)


def wait_until(fact: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.02)


def pid_of(home: Path) -> int:
    return int(json.loads((home / "studies" / "a-study" / "groups" / "w0" / "process.json").read_text())["pid"])


def test_a_plan_starts_nothing(make: Callable[[], Executor]) -> None:
    assert any("at work" in line for line in make().plan([group()]))
    assert make().groups() == ()


def test_a_started_group_runs_and_is_found_by_others(make: Callable[[], Executor]) -> None:
    make().start(group())
    (found,) = make().groups("a-study")
    assert (found.name, found.state, found.exit_code) == ("w0", GroupState.RUNNING, None)
    assert make().groups("another-study") == ()


def test_starting_a_running_group_changes_nothing(make: Callable[[], Executor]) -> None:
    executor = make()
    executor.start(group())
    executor.start(group())
    make().start(group())
    assert len(make().groups()) == 1
    wait_until(lambda: len(list(executor.log("a-study", "w0"))) == 1)


def test_a_cancelled_group_is_over_and_may_be_cancelled_again(make: Callable[[], Executor]) -> None:
    executor = make()
    executor.start(group())
    executor.cancel("a-study", "w0", grace_s=5.0)
    executor.cancel("a-study", "w0", grace_s=5.0)
    assert executor.status("a-study", "w0").state.is_over


def test_a_group_is_cancelled_by_whoever_finds_it(make: Callable[[], Executor]) -> None:
    executor = make()
    executor.start(group())
    make().cancel("a-study", "w0", grace_s=5.0)
    assert executor.status("a-study", "w0").state.is_over


def test_a_group_that_is_over_can_be_started_again(make: Callable[[], Executor]) -> None:
    executor = make()
    executor.start(group())
    executor.cancel("a-study", "w0", grace_s=5.0)
    executor.start(group())
    assert executor.status("a-study", "w0").state is GroupState.RUNNING


def test_logs_survive_the_end(make: Callable[[], Executor]) -> None:
    executor = make()
    executor.start(group())
    wait_until(lambda: any("at work" in line for line in executor.log("a-study", "w0")))
    executor.cancel("a-study", "w0", grace_s=5.0)
    assert any("at work" in line for line in make().log("a-study", "w0"))


def test_an_unknown_group_is_one_error_everywhere(make: Callable[[], Executor]) -> None:
    executor = make()
    with pytest.raises(UnknownGroupError):
        executor.status("a-study", "w9")
    with pytest.raises(UnknownGroupError):
        executor.cancel("a-study", "w9", grace_s=1.0)
    with pytest.raises(UnknownGroupError):
        list(executor.log("a-study", "w9"))


def test_a_plan_shows_no_password(tmp_path: Path) -> None:
    address = {"WINNOW_STORAGE": "postgresql://me:s3cret@db:5432/studies", "PLAIN": "a b"}
    (line,) = LocalExecutor(tmp_path).plan([GroupSpec("a-study", "w0", ("run",), address)])
    assert line == "PLAIN='a b' WINNOW_STORAGE='postgresql://me:***@db:5432/studies' run"


def test_a_local_group_ends_with_its_exit_code(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.start(group(code="raise SystemExit(7)"))
    wait_until(lambda: executor.status("a-study", "w0").state.is_over)
    status = executor.status("a-study", "w0")
    assert (status.state, status.exit_code) == (GroupState.FAILED, 7)


def test_how_a_local_group_ended_is_unknown_to_others(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.start(group(code="print('at work')"))
    wait_until(lambda: executor.status("a-study", "w0").state.is_over)
    assert LocalExecutor(tmp_path).status("a-study", "w0").state is GroupState.ENDED


def test_a_local_group_that_ignores_the_request_is_killed_with_its_children(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {DEAF}"
    executor.start(group(code=code))
    wait_until(lambda: len(list(executor.log("a-study", "w0"))) == 2)
    supervisor = psutil.Process(pid_of(tmp_path))
    started = [supervisor, *supervisor.children(recursive=True)]
    assert len(started) == 2
    executor.cancel("a-study", "w0", grace_s=0.2)
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []


def test_a_local_group_lives_in_a_session_of_its_own(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.start(group())
    pid = pid_of(tmp_path)
    assert os.getsid(pid) == pid != os.getsid(0)
    executor.cancel("a-study", "w0", grace_s=5.0)


def test_a_recycled_pid_is_not_taken_for_the_group(tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "a-study" / "groups" / "w0"
    folder.mkdir(parents=True)
    (folder / "process.json").write_text(f'{{"pid": {os.getpid()}, "created_at": 1.0}}')
    executor = LocalExecutor(tmp_path)
    assert executor.status("a-study", "w0").state is GroupState.ENDED
    executor.cancel("a-study", "w0", grace_s=0.0)

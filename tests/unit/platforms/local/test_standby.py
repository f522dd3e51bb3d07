"""Supervisors that wait for their group."""

import json
import os
from pathlib import Path

import psutil

from tests.unit.training.group import wait_until_gone
from winnow.platforms.executor import GroupSpec, GroupState
from winnow.platforms.local.executor import SUPERVISOR, LocalExecutor


def test_a_group_is_given_to_a_supervisor_that_waits(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.warm_up(1)
    (waiting,) = [identity.pid for identity, _ in executor._standbys]
    argv = (*SUPERVISOR, "--study", "a-study", "--group", "w0")
    group = GroupSpec("a-study", "w0", argv, {"WINNOW_HOME": str(tmp_path), "WINNOW_STORAGE": "nonsense"})
    assert [path.name for path in tmp_path.iterdir()] == []
    executor.start(group)
    folder = tmp_path / "studies" / "a-study" / "groups" / "w0"
    assert json.loads((folder / "process.json").read_text())["pid"] == waiting
    os.waitid(os.P_PID, waiting, os.WEXITED | os.WNOWAIT)
    assert executor.status("a-study", "w0").state is GroupState.FAILED
    assert "WINNOW_STORAGE" in (folder / "supervisor.log").read_text()


def test_supervisors_that_wait_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.warm_up(2)
    waiting = [psutil.Process(identity.pid) for identity, _ in executor._standbys]
    for _, pipe in executor._standbys:
        os.close(pipe)
    assert wait_until_gone(waiting, timeout_s=20) == []

"""Which process is meant by a pid that was written down."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.config.process_identity import PROC, ProcessIdentity, identity_of, is_running

NO_PID = 2**22 - 1


@pytest.fixture(params=["proc", "ps"])
def proc(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the system keeps its processes; with "ps", a folder that is not there, as on macOS."""
    if request.param == "ps" and shutil.which("ps") is None:
        pytest.skip("needs ps")
    return PROC if request.param == "proc" else tmp_path / "missing"


def test_a_process_is_itself_and_no_other(proc: Path) -> None:
    this = identity_of(os.getpid(), proc)
    assert is_running(this, proc)
    assert not is_running(ProcessIdentity(this.pid, "another time"), proc)
    assert not is_running(ProcessIdentity(this.pid, this.started.split()[0][:-1]), proc)


def test_a_pid_of_no_process_is_that_of_none(proc: Path) -> None:
    assert identity_of(NO_PID, proc) == ProcessIdentity(NO_PID, "")
    assert not is_running(identity_of(NO_PID, proc), proc)
    assert not is_running(ProcessIdentity(os.getpid(), ""), proc)


def test_a_zombie_does_not_run(proc: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    started = identity_of(child.pid, proc)
    assert is_running(started, proc)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(started, proc)
    assert identity_of(child.pid, proc) == ProcessIdentity(child.pid, "")
    child.wait()


@pytest.mark.skipif(not (PROC / "sys/kernel/random/boot_id").exists(), reason="needs Linux")
def test_equal_ticks_of_another_boot_are_another_process_and_a_record_without_a_boot_is_this_one() -> None:
    this = identity_of(os.getpid())
    ticks, boot = this.started.split()
    assert is_running(ProcessIdentity(this.pid, f"{ticks} {boot}"))
    assert not is_running(ProcessIdentity(this.pid, f"{ticks} {boot[::-1]}"))
    assert is_running(ProcessIdentity(this.pid, ticks))


def test_a_boot_that_cannot_be_read_leaves_the_ticks(tmp_path: Path) -> None:
    """Some sandboxes forbid it: reading a folder is refused as well, also for root."""
    for name in ("self", "7"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stat").write_text(f"7 (name) S {' '.join(map(str, range(4, 30)))}")
    (tmp_path / "sys/kernel/random/boot_id").mkdir(parents=True)
    assert identity_of(7, tmp_path) == ProcessIdentity(7, "22")

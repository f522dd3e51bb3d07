"""Locks on files and folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from winnow.config.file_lock import locked, try_locked


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), try_locked(tmp_path / "lock") as is_held:
        assert not is_held
    with try_locked(tmp_path / "lock") as is_held:
        assert is_held


def test_shared_holders_keep_out_an_exclusive_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, is_shared=True), try_locked(path, is_shared=True) as is_shared, try_locked(path) as is_held:
        assert (is_shared, is_held) == (True, False)


def test_a_folder_is_locked_without_a_file_in_it(tmp_path: Path) -> None:
    with locked(tmp_path), try_locked(tmp_path) as is_held:
        assert not is_held
        assert list(tmp_path.iterdir()) == []


def test_waiting_is_announced_once(tmp_path: Path) -> None:
    said: list[str] = []
    with locked(tmp_path / "lock", on_wait=lambda: said.append("free")):
        pass
    assert said == []

    holder = _holder(tmp_path / "lock")

    def release() -> None:
        said.append("waiting")
        holder.kill()

    with locked(tmp_path / "lock", on_wait=release):
        assert said == ["waiting"]
    holder.wait()


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "lock")
    with try_locked(tmp_path / "lock") as is_held:
        assert not is_held
    holder.kill()
    holder.wait()
    with try_locked(tmp_path / "lock") as is_held:
        assert is_held


def test_a_lock_that_is_only_tried_makes_no_folder(tmp_path: Path) -> None:
    try:
        with try_locked(tmp_path / "gone" / "lock"):
            raise AssertionError("there is no folder")
    except FileNotFoundError:
        assert not (tmp_path / "gone").exists()


def _holder(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds the lock until it is killed."""
    program = (
        "import pathlib, sys, time\n"
        "from winnow.config.file_lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print(flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout as ready:
        ready.readline()
    return holder

from __future__ import annotations

import os
import sys
from pathlib import Path

from winnow.config.process_identity import ProcessIdentity
from winnow.platforms import process


def _spawn(tmp_path: Path, code: str) -> ProcessIdentity:
    return process.spawn_detached([sys.executable, "-c", code], tmp_path / "log", os.environ)


def test_a_process_is_known_by_pid_and_start(tmp_path: Path) -> None:
    started = _spawn(tmp_path, "import time; time.sleep(60)")
    try:
        assert process.is_alive(started)
        assert not process.is_alive(ProcessIdentity(started.pid, "another time"))
        assert os.getsid(started.pid) == started.pid != os.getsid(0)
    finally:
        process.stop([started], 5)
    assert not process.is_alive(started)


def test_what_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    started = _spawn(tmp_path, code)
    while "on" not in (tmp_path / "log").read_text():
        assert process.is_alive(started)
    process.stop([started], 0.2)
    while process.is_alive(started):
        continue
    assert not process.is_alive(started)


def test_stopping_what_has_ended_harms_nobody() -> None:
    process.stop([ProcessIdentity(os.getpid(), "another time")], 1)


def test_descriptors_arrive_in_order_whatever_their_numbers(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY) for name in ("first", "second"))
    code = "import os; os.write(3, b'three'); os.write(4, b'four'); print('done')"
    started = process.spawn_detached([sys.executable, "-c", code], tmp_path / "log", os.environ, (second, first))
    while process.is_alive(started):
        continue
    os.close(first)
    os.close(second)
    assert [(tmp_path / name).read_text() for name in ("second", "first", "log")] == ["three", "four", "done\n"]

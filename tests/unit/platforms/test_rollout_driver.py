"""A driver of a rollout as a process of its own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from winnow.platforms.rollout_driver import start_process

SCRIPT = "import os, sys; print(os.environ['WINNOW_DRIVER_LOG'], os.getsid(0) == os.getpid(), *sys.argv[1:])"


def test_a_driver_has_a_session_of_its_own_and_a_log(tmp_path: Path) -> None:
    driver = start_process("cells", "local", tmp_path, [sys.executable, "-c", SCRIPT])
    log = tmp_path / "deployments" / "drivers" / "local-cells.log"
    until = time.monotonic() + 20
    while not log.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    assert log.read_text() == f"{log} True rollout-resume --name cells --platform local --as-driver\n"
    assert driver.log == str(log)
    os.waitpid(int(driver.what.removeprefix("process ")), 0)

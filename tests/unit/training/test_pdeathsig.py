"""What ends a process with its parent, and what is left of it on a system whose kernel does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

DEATH_SIGNAL = (
    "import ctypes, sys\n"
    "from winnow.training.pdeathsig import die_with_parent\n"
    "die_with_parent(sys.argv[1])\n"
    "found = ctypes.c_int()\n"
    "ctypes.CDLL(None).prctl(2, ctypes.byref(found))\n"  # PR_GET_PDEATHSIG
    "print(found.value)\n"
)


def _run(system: str, parent: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", DEATH_SIGNAL, system],
        env={**os.environ, "WINNOW_PARENT_PID": str(parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_linux_is_asked_for_the_signal_and_no_other_system() -> None:
    assert _run("linux", os.getpid()) == (0, "9\n")
    assert _run("darwin", os.getpid()) == (0, "0\n")


def test_a_process_whose_parent_is_gone_already_ends_on_every_system() -> None:
    assert _run("darwin", os.getpid() + 1) == (1, "")

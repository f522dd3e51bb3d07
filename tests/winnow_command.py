"""`python -m winnow` at the price of a fork: with its own exit status, output, environment and folder.

A server process imports the libraries that a call would import, once. Each call is a fork of it that imports winnow
itself, which takes a third of the time, and can change nothing for the next.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["__main__", "tests.libraries"])


def winnow(
    *arguments: str, env: Mapping[str, str], cwd: Path = ROOT, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `winnow` to its end. Raises subprocess.TimeoutExpired after so many seconds, when it has been killed."""
    argv = ["winnow", *arguments]
    with tempfile.TemporaryDirectory(prefix="winnow-test-") as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        for file in (out, err):
            file.touch()
        process = _FORKS.Process(target=_run, args=(arguments, cwd, dict(env), out, err))
        process.start()
        process.join(timeout)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, timeout, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(argv, code, out.read_text(), err.read_text())


def _run(arguments: tuple[str, ...], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    for number, file in ((1, out), (2, err)):
        opened = os.open(file, os.O_WRONLY)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    # As with `-m`: the folder first, then PYTHONPATH. Children start with this one's folder in their place.
    further = [each for each in environment.get("PYTHONPATH", "").split(":") if each]
    sys.path[:] = [str(folder), *further, *(each for each in sys.path if each not in ("", str(ROOT)))]
    sys.argv[1:] = arguments
    runpy.run_module("winnow", run_name="__main__", alter_sys=True)

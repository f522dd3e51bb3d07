"""`winnow` in a process of its own at the price of a fork: with its own exit status, output, environment and folder.

A server process imports what every call would import, once; each call is a fork of it, so that a table of calls costs
tenths of a second a row and a call can change nothing for the next.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 60.0
PRELOADED = [
    "winnow.orchestrators.train",
    "winnow.orchestrators.select_model",
    "sklearn.datasets",
    "torchmetrics",
    "torch._dynamo",  # what shapes without memory and optimizers bring with them
]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    code: int | None
    out: str
    err: str


def winnow(arguments: list[str], folder: Path, environment: Mapping[str, str]) -> Ended:
    """Run `winnow` in `folder` with these variables and none of the caller's WINNOW_* and MLFLOW_*."""
    out, err = folder.with_suffix(".out"), folder.with_suffix(".err")
    process = _FORKS.Process(target=_run, args=(arguments, folder, dict(environment), out, err))
    process.start()
    process.join(TIMEOUT_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    return Ended(process.exitcode, out.read_text(), err.read_text())


def _run(arguments: list[str], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for name in [name for name in os.environ if name.startswith(("WINNOW_", "MLFLOW_"))]:
        del os.environ[name]
    os.environ.update(environment)
    os.chdir(folder)
    from winnow.cli import main

    sys.argv = ["winnow", *arguments]
    main(arguments)

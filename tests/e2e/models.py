"""The command line with registered models to serve, in a home of its own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.unit.serving import bundles
from tests.unit.tracking import made_up
from tests.winnow_command import winnow
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.store import prepare
from winnow.tracking.tracker import ModelVersion


class Winnow:
    """The command line with a home of its own, and two registered models."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.uri = f"sqlite:///{home}/mlflow.db"
        prepare(self.uri)
        self._tracker, self._sweep = MlflowTracker(self.uri), made_up.sweep("cells")
        self._parent = self._tracker.start_sweep(self._sweep)
        self.versions: list[ModelVersion] = []
        for number, scale in enumerate((1.0, 2.0)):
            self.register(bundles.classification(home / f"bundle-{number}", scale=scale))

    def register(self, bundle: Path) -> None:
        """Add a version."""
        trial = made_up.trial(len(self.versions), study="cells")
        self.versions.append(self._tracker.log_bundle(self._sweep, self._parent, trial, bundle))

    def crown(self, number: int) -> None:
        Registry(self.uri).crown(self.versions[number], "test")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return winnow(*arguments, env=self._environment(**variables), timeout=120)

    @contextlib.contextmanager
    def running(self, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs until the context closes, for two minutes at most; its standard error can be read."""
        argv = [sys.executable, "-m", "winnow", *arguments]
        env = self._environment(**variables)
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=env) as process:
            limit = threading.Timer(120, process.kill)
            limit.start()
            try:
                yield process
            finally:
                limit.cancel()
                process.terminate()

    def python(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", program, *arguments]
        env = self._environment(**variables)
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=env)

    def _environment(self, **variables: str) -> dict[str, str]:
        return {**os.environ, "WINNOW_HOME": str(self.home), "MLFLOW_TRACKING_URI": self.uri, **variables}


@contextlib.contextmanager
def two_models() -> Iterator[Winnow]:
    """A home with two models of the study `cells`; nothing of it is served at the end."""
    with tempfile.TemporaryDirectory(prefix="winnow-test-") as home:
        made = Winnow(Path(home))
        yield made
        made.run("prod-remove", "--study", "cells")


def address(output: str) -> str:
    """The address that a command says is served."""
    found = re.search(r"http://127\.0\.0\.1:\d+", output)
    assert found is not None, output
    return found.group()


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """The group of the next line of a process that matches."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"the process ended without {pattern}")

"""Sweeps for tests: a real `winnow train` in a home of its own, watched through its study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.winnow_command import winnow
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.tracking.records import TrialRecord

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120.0


class Sweep:
    """One study, its file and its home."""

    def __init__(self, folder: Path, loop: str, tracking_uri: str | None = None, **changes: Any) -> None:
        self.home = folder / "home"
        self.log = folder / "folds.log"
        self.file = folder / "experiment.yaml"
        self._tracking_uri = tracking_uri
        experiment: dict[str, Any] = {
            "name": "a-study",
            "data": {"source": "sklearn:iris"},
            "model": {"factory": "winnow.models:linear"},
            "search": {
                "space": {"x": {"float": [0.1, 0.9]}},
                "trials": 4,
                "metric": {"name": "f1"},
                "sampler": "random",
                "pruner": "off",
            },
            "training": {"loop": f"tests/e2e/loops.py:{loop}"},
            "refit": {"top": 1},
            "execution": {"workers": 2},
        }
        for key, value in changes.items():
            experiment[key] = {**experiment.get(key, {}), **value}
        self.file.write_text(yaml.safe_dump(experiment))

    @property
    def env(self) -> dict[str, str]:
        env = {**os.environ, "WINNOW_HOME": str(self.home), "WINNOW_TEST_LOG": str(self.log)}
        env.pop("MLFLOW_TRACKING_URI", None)
        return env | ({"MLFLOW_TRACKING_URI": self._tracking_uri} if self._tracking_uri else {})

    def command(self, verb: str = "train", *flags: str) -> list[str]:
        return [sys.executable, "-m", "winnow", verb, "--config", str(self.file), *flags]

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start `winnow train` as a terminal would, in a process group of its own."""
        return subprocess.Popen(
            self.command("train", *flags),
            cwd=ROOT,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *flags: str, verb: str = "train") -> subprocess.CompletedProcess[str]:
        return winnow(verb, "--config", str(self.file), *flags, env=self.env, timeout=TIMEOUT_S)

    @property
    def store(self) -> StudyStore:
        return StudyStore(Database(f"sqlite:///{self.home / 'studies.db'}"), "a-study")

    def trials(self) -> tuple[TrialRecord, ...]:
        if not (self.home / "studies.db").is_file():
            return ()
        store = self.store
        return store.trials() if store.exists() else ()

    def group(self, name: str) -> psutil.Process:
        """The supervisor of a worker group."""
        kept = json.loads((self.home / "studies/a-study/groups" / name / "process.json").read_text())
        return psutil.Process(kept["pid"])

    def processes(self) -> list[psutil.Process]:
        """Every process that works on this study, found by what it was started with."""
        return [p for p in psutil.process_iter() if _works_in(p, self.home) and p.status() != psutil.STATUS_ZOMBIE]

    def ranks(self) -> list[psutil.Process]:
        return [p for p in self.processes() if p.name().startswith("winnow-rank-")]

    def trained_folds(self) -> int:
        """How many trainings of folds were begun; a refit counts as the fold after the last."""
        return sum(int(line) < 5 for line in self.log.read_text().splitlines())


def _works_in(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("WINNOW_HOME") == str(home) and process.pid != os.getpid()
    except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def wait_until(fact: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.05)


def end(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str]:
    process.send_signal(how)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, output

"""`winnow retrain --if-due` is killed, called again, and called by two machines at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.tracking.history import RetrainRecord
from winnow.tracking.registry import Registry

WITHIN_S = 120.0
GATE = {"type": "metric", "metric": "accuracy", "min": 0.5, "confidence": None}
BETTER = {"type": "champion", "metric": "accuracy", "margin": 0.9, "scale": "absolute", "confidence": None}
"""No version is that much better; the first one has no champion to beat."""


class Project:
    """An experiment whose data are a file, with a home of its own for each machine and one database for all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write_rows(120)
        (folder / "rules.yaml").write_text(yaml.safe_dump({"gates": {"production": [GATE, BETTER]}}))
        experiment = {
            "name": "flowers",
            "data": {"source": str(folder / "rows.csv"), "target": "kind", "holdout": 0.3},
            "model": {"factory": "winnow.models:linear"},
            "search": {"space": {"lr": {"float": [0.01, 0.1]}}, "trials": 2, "metric": {"name": "accuracy"}},
            "cross_validation": {"splitter": "stratified", "folds": 2},
            "training": {"epochs": 2},
            "execution": {"workers": 1},
            "refit": {"top": 1},
            "retrain": {"rules": str(folder / "rules.yaml"), "backoff": "1h"},
        }
        (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))

    def write_rows(self, rows: int) -> None:
        lines = [f"{row % 2 + row / 1000},{row % 7},{'ab'[row % 2]}" for row in range(rows)]
        (self.folder / "rows.csv").write_text("\n".join(["x,y,kind", *lines]))

    def environment(self, machine: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("WINNOW_API_KEY", "WINNOW_STORAGE")}
        return kept | {
            "WINNOW_HOME": str(self.folder / machine),
            "WINNOW_STORAGE": f"sqlite:///{self.folder}/studies.db",
            "MLFLOW_TRACKING_URI": self.uri,
        }

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def start(self, *flags: str, verb: str = "retrain", machine: str = "home") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "winnow", verb, "--config", str(self.folder / "experiment.yaml"), *flags]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(machine),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def retrain(self, *flags: str, machine: str = "home") -> tuple[int, dict[str, Any], str]:
        process = self.start("--if-due", "--json", *flags, machine=machine)
        said, errors = process.communicate(timeout=WITHIN_S)
        return process.returncode, json.loads(said) if said else {}, errors

    def history(self) -> list[tuple[str, str]]:
        """Study and state of each record."""
        if not (self.folder / "mlflow.db").is_file():
            return []
        return [(each.study, each.state) for _, each in Registry(self.uri).records("flowers", RetrainRecord)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.start(verb="prod-remove").communicate(timeout=WITHIN_S)


@pytest.mark.slow
def test_a_retraining_that_was_killed_goes_on_and_the_next_one_has_to_pass_the_gates(project: Project) -> None:
    process = project.start("--if-due")
    deadline = time.monotonic() + WITHIN_S
    while ("flowers", "started") not in project.history() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    status, found, errors = project.retrain()
    assert (status, found.get("state"), found.get("study")) == (0, "deployed", "flowers"), errors

    project.write_rows(160)
    other = project.start("--if-due", "--json", machine="another")
    own = project.retrain()
    said, errors = other.communicate(timeout=WITHIN_S)
    states = sorted([own[1]["state"], json.loads(said)["state"]])
    assert states in (["busy", "refused"], ["nothing", "refused"]), (own, said, errors)
    assert {own[0], other.returncode} == {0, 3}
    assert project.history() == [
        *[("flowers", "started")] * 2,
        ("flowers", "deployed"),
        ("flowers-2", "started"),
        ("flowers-2", "refused"),
    ]

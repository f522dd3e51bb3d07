"""A folder with DAGs that Airflow itself runs on SQLite: `dag.test()` runs tasks, triggers and sensors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tools import installed
from tests.winnow_command import winnow

REPOSITORY = Path(__file__).parents[1]
MARK = "RESULT "
WINNOW = str(Path(sys.executable).with_name("winnow"))
WINE = """
name: wine
data: {source: "sklearn:wine"}
model: {factory: "winnow.models:mlp"}
search: {space: {lr: {float: [0.0001, 0.001]}}, trials: 2, metric: f1}
training: {epochs: 1}
refit: {top: 1}
"""
"""An experiment of two trials."""


@dataclass(frozen=True)
class Project:
    """A folder with the weather experiment and its DAGs, and the environment of Airflow's processes."""

    folder: Path
    python: Path
    env: dict[str, str]

    def run(self, *arguments: str) -> list[Any]:
        """The results that e2e/airflow_runs.py has printed."""
        script = str(Path(__file__).with_name("e2e") / "airflow_runs.py")
        done = subprocess.run(
            [self.python, script, *arguments],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        found = [json.loads(line.removeprefix(MARK)) for line in done.stdout.splitlines() if line.startswith(MARK)]
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return found

    def winnow(self, *arguments: str) -> str:
        """What a verb prints, in the project."""
        done = winnow(*arguments, env=os.environ, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def project_of(folder: Path, dags: Path, environment: Mapping[str, str] = os.environ) -> Project:
    """A project whose DAGs are those of a folder, with Airflow's database made."""
    python = installed("airflow")
    env = {name: value for name, value in environment.items() if not name.startswith(("AIRFLOW", "WINNOW_HOME"))} | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_WINNOW_DEFAULT": json.dumps(
            {"conn_type": "generic", "extra": {"project": str(folder), "winnow": WINNOW}}
        ),
        "PYTHONPATH": str(REPOSITORY / "airflow" / "plugins"),
    }
    for command in (("db", "migrate"), ("dags", "reserialize")):
        subprocess.run([python.with_name("airflow"), *command], env=env, cwd=folder, check=True, capture_output=True)
    return Project(folder, python, env)


@contextmanager
def weather(folder: Path) -> Iterator[Project]:
    """The weather experiment with its DAGs, a small sweep of it, and data. What it serves goes at the end."""
    shutil.copytree(REPOSITORY / "experiments" / "weather", folder / "experiments" / "weather")
    file = folder / "experiments" / "weather" / "weather.yaml"
    text = file.read_text(encoding="utf-8").replace("epochs: 20", "epochs: 2").replace("trials: 8", "trials: 5")
    file.write_text(text, encoding="utf-8")
    shutil.copytree(REPOSITORY / "airflow" / "dags", folder / "dags")
    made = project_of(folder, folder / "dags")
    made.winnow("generate-data", "--kind", "weather", "--rows", "3000")
    yield made
    made.winnow("prod-remove")

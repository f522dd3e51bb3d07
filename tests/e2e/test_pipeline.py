"""The shipped weather experiment goes from raw CSV files that grow to a served model, by one command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.winnow_command import winnow

ROOT = Path(__file__).parents[2]
CONFIG = "experiments/weather/weather.yaml"
NOTHING = "nothing has changed"


class Folder:
    """A working directory with the experiment, in a small form, and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "experiments/weather", folder / "experiments/weather")
        text = (folder / CONFIG).read_text()
        for shipped, small in (("trials: 8", "trials: 2"), ("epochs: 20", "epochs: 4"), ("folds: 4", "folds: 2")):
            assert shipped in text
            text = text.replace(shipped, small)
        (folder / CONFIG).write_text(text)

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        env["WINNOW_HOME"] = str(self.folder / "home")
        done = winnow(*arguments, env=env, cwd=self.folder, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def generate(self, rows: int) -> None:
        self.run("generate-data", "--kind", "weather", "--rows", str(rows))

    def pipeline(self, *flags: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The result, and what each step said."""
        found = json.loads(self.run("pipeline", "--config", CONFIG, "--json", *flags).stdout)
        return found, {each["step"]: each["said"] for each in found["steps"]}


@pytest.mark.slow
def test_raw_files_become_a_served_model_and_a_month_more_the_next_version(tmp_path: Path) -> None:
    here = Folder(tmp_path)
    here.generate(500)
    try:
        first, said = here.pipeline()
        assert (first["state"], first["study"], first["version"]) == ("deployed", "weather", "1")
        assert said["ingest"].endswith("500 rows; 3 sources read")
        assert list(said) == ["ingest", "validate", "prepare", "train", "select", "serve"]
        answer = json.loads(subprocess.check_output(shlex.split(first["curl"]), text=True))
        assert answer["predictions"][0] in ("yes", "no")

        again, said = here.pipeline()
        assert all(NOTHING in each for each in said.values()), said
        assert {**again, "steps": ()} == {**first, "steps": ()}

        here.generate(700)
        second, said = here.pipeline()
        assert (second["state"], second["study"], second["version"]) == ("deployed", "weather-2", "2")
        assert said["ingest"].endswith("700 rows; 1 source read, 2 sources unchanged")
        answer = json.loads(subprocess.check_output(shlex.split(second["curl"]), text=True))
        assert answer["model"]["version"] == "2"
    finally:
        here.run("prod-remove", "--name", "weather", "--platform", "local")

"""The commands that serve a registered model: `prod`, `prod-status`, `inference-one`, `rollback`, `prod-remove`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.serving import bundles
from tests.unit.tracking import made_up
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
        tracker = MlflowTracker(self.uri)
        sweep = made_up.sweep("cells")
        parent = tracker.start_sweep(sweep)
        self.versions: list[ModelVersion] = []
        for number, scale in enumerate((1.0, 2.0)):
            bundle = bundles.classification(home / f"bundle-{number}", scale=scale)
            trial = made_up.trial(number, study="cells")
            self.versions.append(tracker.log_bundle(sweep, parent, trial, bundle))

    def crown(self, number: int) -> None:
        Registry(self.uri).crown(self.versions[number], "test")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "WINNOW_HOME": str(self.home), "MLFLOW_TRACKING_URI": self.uri}
        argv = [sys.executable, "-c", "from winnow.cli import main; main()", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, env=environment)


@pytest.fixture
def winnow() -> Iterator[Winnow]:
    with tempfile.TemporaryDirectory(prefix="winnow-test-") as home:
        made = Winnow(Path(home))
        yield made
        made.run("prod-remove", "--study", "cells")


def _address(output: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", output)
    assert found is not None, output
    return found.group()


def test_a_champion_is_served_asked_replaced_rolled_back_and_removed(winnow: Winnow) -> None:
    refused = winnow.run("prod", "--study", "cells")
    assert (refused.returncode, "select-model" in refused.stderr) == (2, True)

    winnow.crown(0)
    planned = winnow.run("prod", "--study", "cells", "--dry-run")
    assert "-m winnow.serving" in planned.stdout
    assert "Nothing is being served" in winnow.run("prod-status").stdout

    served = winnow.run("prod", "--study", "cells")
    assert (served.returncode, "cells version 1" in served.stdout) == (0, True), served.stderr
    url = _address(served.stdout)
    asked = winnow.run("inference-one", "--study", "cells", "--json")
    assert set(json.loads(asked.stdout)) == {"predictions", "probabilities", "model", "request_id"}
    assert "nothing was changed" in winnow.run("prod", "--study", "cells").stdout

    winnow.crown(1)
    assert "cells version 2" in winnow.run("prod", "--study", "cells").stdout
    rolled_back = winnow.run("rollback", "--study", "cells")
    assert "cells version 1" in rolled_back.stdout
    assert _address(rolled_back.stdout) == url
    (status,) = json.loads(winnow.run("prod-status", "--json").stdout)
    assert (status["state"], status["release"]["version"], status["previous"]["version"]) == ("ready", "1", "2")

    assert "no longer served" in winnow.run("prod-remove", "--study", "cells").stdout
    assert winnow.run("prod-remove", "--study", "cells").returncode == 0
    assert winnow.run("inference-one", "--study", "cells").returncode == 2


def test_inference_one_shows_the_answer_and_the_curl_that_gets_it(winnow: Winnow) -> None:
    winnow.crown(0)
    url = _address(winnow.run("prod", "--study", "cells").stdout)
    shown = winnow.run("inference-one", "--url", url).stdout
    assert "row 0: " in shown
    by_curl = subprocess.run(["bash", "-c", shown[shown.index("curl ") :]], capture_output=True, text=True, check=True)
    assert json.loads(by_curl.stdout)["model"]["version"] == "1"

    rows = winnow.home / "rows.json"
    for content, expected in (
        ([1, 2, 3], "row 0"),
        ([[1, 2, 3], [4, 5, 6]], "row 1"),
        (dict.fromkeys(bundles.COLUMNS, 1), "row 0"),
        ({"instances": [[1, 2, 3]]}, "probability.benign"),
        ({"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}, "model_version"),
    ):
        rows.write_text(json.dumps(content))
        assert expected in winnow.run("inference-one", "--url", url, "--input", str(rows)).stdout
    rows.write_text('{"rows": [[1, "x", 3]]}')
    refused = winnow.run("inference-one", "--url", url, "--input", str(rows))
    assert (refused.returncode, 'column "mean texture"' in refused.stderr) == (2, True)
    rows.write_text("{")
    assert winnow.run("inference-one", "--url", url, "--input", str(rows)).returncode == 2

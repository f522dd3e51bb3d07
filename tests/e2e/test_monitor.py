"""`winnow monitor` on a model that local processes serve."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from tests.e2e.models import Winnow, address, two_models
from tests.e2e.outcomes import posted
from tests.unit.serving import bundles
from winnow.bundle.columns import Column
from winnow.bundle.manifest import read_manifest, sha256_of, write_manifest
from winnow.bundle.profile import CONFIDENCE, PREDICTION, PROFILE, ColumnCounts, ColumnProfile, Profile, write_profile
from winnow.bundle.row_counter import Answering, OutputCounter
from winnow.tracking.history import AlertRecord
from winnow.tracking.registry import Registry
from winnow.training.profiling import column_profiles, counted_inputs

RANDOM = np.random.default_rng(0)


def rows(count: int, shift: float = 0.0) -> NDArray[np.float32]:
    """Rows of the model, whose first column is shifted by so many standard deviations."""
    return (RANDOM.normal(size=(count, 3)) + np.array([shift, 0.0, 0.0])).astype(np.float32)


def profiled(folder: Path) -> Path:
    """A bundle with the profile of a thousand rows."""
    bundle, trained = bundles.classification(folder), rows(1000)
    columns = tuple(Column(name) for name in bundles.COLUMNS)
    inputs = counted_inputs(column_profiles(trained, columns), trained, columns)
    outputs = [
        ColumnProfile(PREDICTION, "category", ColumnCounts(()), labels=bundles.CLASSES),
        ColumnProfile(CONFIDENCE, "number", ColumnCounts(()), edges=(0.6, 0.7, 0.8, 0.9, 0.95), centre=0.8, scale=0.15),
    ]
    counter = OutputCounter(outputs, Answering(bundles.CLASSES))
    counter.add(bundles.softmax(trained @ bundles.CLASS_WEIGHTS))
    counted = [
        msgspec.structs.replace(*pair[:1], counts=pair[1]) for pair in zip(outputs, counter.counts(), strict=True)
    ]
    write_profile(folder, Profile(1000, tuple(inputs), tuple(counted), 1000, "holdout"))
    manifest = read_manifest(bundle)
    write_manifest(
        bundle, msgspec.structs.replace(manifest, files={**manifest.files, PROFILE: sha256_of(bundle / PROFILE)})
    )
    return bundle


class Cells:
    """The deployment `cells`, and the file that says how it is watched."""

    def __init__(self, winnow: Winnow) -> None:
        self.winnow = winnow
        self.file, self.told = winnow.home / "cells.yaml", winnow.home / "told"
        script = winnow.home / "tell.sh"
        script.write_text(f'#!/bin/sh\necho "$WINNOW_ALERT_STATUS $WINNOW_ALERT_NAME" >> {self.told}\n')
        script.chmod(0o755)
        self.configure("cells", alert={"command": str(script)})

    def configure(self, file: str, **monitoring: Any) -> Path:
        """Write an experiment file that says how the model is watched."""
        content = {
            "name": "cells",
            "data": {"source": "sklearn:iris"},
            "model": {"factory": "winnow.models:linear"},
            "search": {"space": {"lr": {"float": [0.1, 0.9]}}, "trials": 1, "metric": {"name": "f1"}},
            "monitoring": monitoring,
        }
        path = self.winnow.home / f"{file}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def serve(self, version: int) -> str:
        self.winnow.crown(version)
        served = self.winnow.run("prod", "--config", str(self.file))
        assert served.returncode == 0, served.stderr
        return address(served.stdout)

    def look(self, *flags: str) -> tuple[int, str, str]:
        found = self.winnow.run("monitor", "--config", str(self.file), *flags)
        return found.returncode, found.stdout, found.stderr


def ask(url: str, asked: NDArray[np.float32]) -> None:
    """Ask for predictions, and wait until the replica has counted them."""
    for part in np.array_split(asked, len(asked) // 2):
        posted(f"{url}/predict", {"rows": part.tolist()})
    time.sleep(1.0)


@pytest.fixture
def cells() -> Iterator[Cells]:
    with two_models() as winnow:
        winnow.register(profiled(winnow.home / "profiled"))
        yield Cells(winnow)


def test_a_drift_is_found_told_kept_and_over(cells: Cells, tmp_path: Path) -> None:
    url = cells.serve(2)
    ask(url, rows(800))
    status, output, errors = cells.look()
    assert (status, "no drift in 5 columns and outputs" in output) == (0, True), output + errors

    ask(url, rows(800, shift=0.8))
    page, gauges = tmp_path / "page.html", tmp_path / "gauges.prom"
    status, output, errors = cells.look("--json", "--html", str(page), "--output", str(gauges))
    found = json.loads(output)
    assert (status, found["rows"], found["source"]) == (3, 800, "1 replica"), errors
    assert ("WinnowDrift", "mean radius") in [(each["name"], each["subject"]) for each in found["alarms"]]
    assert 'alertname="WinnowDrift",subject="mean radius"} 1.0' in gauges.read_text()
    assert "mean radius" in page.read_text()

    ask(url, rows(1500))
    assert cells.look()[0] == 0
    began = len(found["alarms"])
    assert cells.told.read_text() == "firing WinnowDrift\n" * began + "resolved WinnowDrift\n" * began
    kept = [each for _, each in Registry(cells.winnow.uri).records("cells", AlertRecord)]
    assert [(each.version, each.status) for each in kept] == [("3", "firing")] * began + [("3", "resolved")] * began


FAULTS = """
import json, sys
import winnow

found = []
for given in map(json.loads, sys.argv[1:]):
    try:
        winnow.monitor(**given)
    except winnow.WinnowError as error:
        found.append([error.exit_code, str(error)])
print(json.dumps(found))
"""


def test_what_cannot_be_watched_is_one_error_each(cells: Cells) -> None:
    status, output, errors = cells.look()
    assert (status, output, errors.count("error:")) == (2, "", 1)
    assert "deployment 'cells': expected the name of something that is being served" in errors
    cells.serve(0)
    status, output, errors = cells.look()
    assert (status, output, errors.count("error:")) == (2, "", 1)
    assert "model cells version 1: expected a bundle with a reference profile, to compare requests with" in errors

    cells.serve(2)
    radius = {"name": "Radius", "metric": "psi", "column": "mean radios", "above": "0.2 psi"}
    files = [
        cells.configure("radius", rules=[radius]),
        cells.configure("program", alert={"command": "no-such-program"}),
        cells.configure("token", alert={"webhook": "http://localhost:1", "token_env": "NO_SUCH"}),
    ]
    calls = [{"config": str(file)} for file in files] + [
        {"config": str(cells.file), "prometheus": "http://127.0.0.1:9"},
        {"config": str(cells.file), "prometheus": "prometheus:9090"},
        {"config": str(cells.file), "stage": "staging"},
        {"config": str(cells.file), "html": "/proc/page.html"},
    ]
    found = json.loads(cells.winnow.python(FAULTS, *map(json.dumps, calls)).stdout)
    expected = [
        (2, "radius.yaml: monitoring.rules.Radius.column: expected a column or output of the model: mean radius, mean"),
        (2, "program.yaml: monitoring.alert.command: expected a command, found 'no-such-program', which is no program"),
        (2, "token.yaml: monitoring.alert.token_env: expected a variable with the receiver's token, found NO_SUCH"),
        (1, "PROMETHEUS=: the Prometheus at http://127.0.0.1:9 did not answer"),
        (2, "PROMETHEUS=: expected an address that begins with http:// or https://"),
        (2, "deployment 'cells-staging': expected the name of something that is being served"),
        (2, "/proc"),
    ]
    assert [(code, part in text) for (code, text), (_, part) in zip(found, expected, strict=True)] == [
        (code, True) for code, _ in expected
    ], found
    assert not cells.told.exists()

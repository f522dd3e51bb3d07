"""The Open Inference Protocol, as a client of others speaks it: tritonclient."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_serving import serving
from tests.tools import installed
from tests.unit.serving import bundles

pytestmark = [pytest.mark.tools("triton"), pytest.mark.slow]


def test_tritonclient_finds_what_the_protocol_says(tmp_path: Path) -> None:
    python = installed("triton")
    bundle = bundles.classification(tmp_path / "bundle")
    with serving(bundle, tmp_path) as server:
        argv = [python, Path(__file__).with_name("oip_client.py"), server.url.removeprefix("http://"), "cells"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    values = {"output": [[0.2227, 0.7773], [0.9948, 0.0052]], "prediction": ["benign", "malignant"]}
    rounded = {
        **found["one"]["values"],
        "output": [[round(x, 4) for x in row] for row in found["one"]["values"]["output"]],
    }
    assert (found["live"], found["ready"], found["version_ready"]) == (True, [True, True, False], True)
    assert (found["server"], found["outputs"]) == ("winnow", ["output", "prediction"])
    assert found["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}]
    assert (found["one"]["id"], found["one"]["model"][0]) == ("42", "cells")
    assert found["one"]["datatypes"] == {"output": "FP32", "prediction": "BYTES"}
    assert rounded == values
    assert found["doubles"]["values"] == found["one"]["values"]
    assert found["whole"]["values"] == {"prediction": values["prediction"]}
    assert "mean radius" in found["wrong_name"]
    assert "found [2, 2]" in found["wrong_shape"]
    assert 'This server has the model "cells"' in found["wrong_model"]

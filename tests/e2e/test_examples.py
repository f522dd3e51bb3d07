"""The examples of training with other libraries are swept; what is served of XGBoost answers as XGBoost does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.e2e.models import address
from tests.winnow_command import winnow

ROOT = Path(__file__).parents[2]


class Example:
    """An example with few trials, in a home of its own."""

    def __init__(self, name: str, folder: Path, **training: str) -> None:
        experiment: dict[str, Any] = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
        experiment["search"]["trials"] = 1
        experiment["cross_validation"]["folds"] = 2
        experiment["execution"] = {"workers": 1}
        experiment["training"] |= training
        self.file, self.home, self.kept = folder / "experiment.yaml", folder / "home", folder / "kept.npz"
        self.file.write_text(yaml.safe_dump(experiment))

    def run(self, verb: str, *flags: str) -> str:
        env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        env |= {"WINNOW_HOME": str(self.home), "WINNOW_TEST_KEPT": str(self.kept)}
        done = winnow(verb, "--config", str(self.file), *flags, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pytorch", "lightning", "scikit_learn"])
def test_an_example_is_swept_and_its_model_is_registered(name: str, tmp_path: Path) -> None:
    told = Example(name, tmp_path).run("train")
    assert "1 trial done (1 complete, 0 pruned, 0 failed)" in told
    assert "model version 1" in told


@pytest.mark.slow
def test_what_is_served_of_xgboost_answers_as_xgboost_does(tmp_path: Path) -> None:
    example = Example("xgboost", tmp_path, loop="tests/e2e/loops.py:xgboost_whose_refit_is_kept")
    example.run("train")
    example.run("select-model")
    url = address(example.run("prod"))
    try:
        with np.load(example.kept) as kept:
            answer = httpx.post(f"{url}/predict", json={"rows": kept["rows"].tolist()}).json()
            expected = kept["probabilities"]
    finally:
        example.run("prod-remove")
    found = np.array([[row[name] for name in ("malignant", "benign")] for row in answer["probabilities"]])
    np.testing.assert_allclose(found, expected, atol=1e-6)

"""A folder of images, from its generation to a server that is sent a PNG file."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.e2e.models import address
from tests.winnow_command import winnow
from winnow.api import generate_data
from winnow.bundle.images import ImageInput
from winnow.data.shapes import CLASSES

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(verb: str, file: Path, home: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = winnow(verb, "--config", str(file), env={**env, "WINNOW_HOME": str(home)}, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_model_of_images_is_trained_and_answers_a_png_file(tmp_path: Path) -> None:
    experiment: dict[str, Any] = yaml.safe_load((ROOT / "experiments" / "images.yaml").read_text())
    known = generate_data(tmp_path / "images", kind="images", rows=300)
    experiment["data"] |= {"source": f"images:{known.path}", "load": "lazy"}
    experiment["search"] |= {"trials": 2, "space": {"lr": {"float": [0.005, 0.006]}}}
    experiment["model"]["options"] = {"channels": [16, 32, 32]}
    experiment["cross_validation"]["folds"] = 2
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment))
    run("train", file, tmp_path / "home")
    run("select-model", file, tmp_path / "home")
    unseen = generate_data(tmp_path / "unseen", kind="images", rows=12, seed=1)
    paths = [path for name in CLASSES for path in sorted((unseen.path / name).iterdir())]
    url = address(run("prod", file, tmp_path / "home"))
    try:
        png = {"content-type": "image/png"}
        answers = [httpx.post(f"{url}/predict", content=path.read_bytes(), headers=png).json() for path in paths]
        images = [{"image": base64.b64encode(path.read_bytes()).decode()} for path in paths]
        together = httpx.post(f"{url}/predict", json={"rows": images}).json()
        rows = [ImageInput(32, 32).decode(path.read_bytes()).tolist() for path in paths]
        decoded = httpx.post(f"{url}/predict", json={"rows": rows}).json()
    finally:
        run("prod-remove", file, tmp_path / "home")
    labels = [answer["predictions"][0] for answer in answers]
    assert labels == together["predictions"] == decoded["predictions"]
    assert np.mean([label == path.parent.name for label, path in zip(labels, paths, strict=True)]) >= 0.75

"""Models for the serving tests, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.serving import bundles
from winnow.serving.predictor import Predictor


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    bundles.classification(folder / "classification")
    bundles.regression(folder / "regression")
    bundles.tensors(folder / "tensors")
    bundles.mixed(folder / "mixed")
    bundles.images(folder / "images")
    bundles.crashing(folder / "crashing")
    return folder


@pytest.fixture(scope="session")
def classifier(bundle_folder: Path) -> Predictor:
    return Predictor(bundle_folder / "classification", "3")


@pytest.fixture(scope="session")
def regressor(bundle_folder: Path) -> Predictor:
    return Predictor(bundle_folder / "regression", "3")


@pytest.fixture(scope="session")
def tensor_classifier(bundle_folder: Path) -> Predictor:
    return Predictor(bundle_folder / "tensors", "3")


@pytest.fixture(scope="session")
def mixed_classifier(bundle_folder: Path) -> Predictor:
    return Predictor(bundle_folder / "mixed", "3")


@pytest.fixture(scope="session")
def image_classifier(bundle_folder: Path) -> Predictor:
    return Predictor(bundle_folder / "images", "3")

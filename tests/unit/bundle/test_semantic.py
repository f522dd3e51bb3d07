from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.tracking.made_up import bundle, trial
from winnow.bundle.columns import Column
from winnow.bundle.manifest import Manifest, read_manifest
from winnow.bundle.semantic import Facts, next_version

SETTINGS = {"data.source": "cells.csv", "data.holdout": "0.2", "model.factory": "winnow.models:mlp"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return read_manifest(bundle(tmp_path_factory.mktemp("semantic") / "bundle", trial(), features=2))


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({}, "1.2.4"),
        ({"data_sha256": "cd34" * 16, "params": {"hidden": [8]}, "metrics": {"f1": 0.5}}, "1.2.4"),
        ({"positive": "malignant", "threshold": 0.4}, "1.2.4"),  # the second class is the positive one anyway
        ({"columns": (Column("column 0", "category", "string", ("a",)), Column("column 1"))}, "2.0.0"),
        ({"columns": (Column("column 0", dtype="long"), Column("column 1"))}, "1.3.0"),
        ({"columns": (Column("column 1"), Column("column 0"))}, "2.0.0"),
        ({"class_names": ("benign", "malignant", "unknown")}, "2.0.0"),
        ({"target_names": ("finding",)}, "2.0.0"),
        ({"positive": "benign"}, "2.0.0"),
    ],
)
def test_what_clients_see_is_major_and_what_training_finds_a_patch(
    manifest: Manifest, changes: dict[str, Any], number: str
) -> None:
    assert next_version("1.2.3", Facts(manifest), Facts(replace(manifest, **changes))) == number


@pytest.mark.parametrize(
    ("changes", "code", "number"),
    [
        ({"data.source": "more.csv"}, "abc", "1.3.0"),
        ({"data.columns.age": "category"}, "abc", "1.3.0"),
        ({"model.factory": "nets.py:wide"}, "abc", "1.3.0"),
        ({}, "def", "1.3.0"),
        ({"data.recipe": "5f0c9d2e"}, "abc", "1.3.0"),
        ({"data.rev": "v2", "data.prepare.engine": "polars"}, "abc", "1.2.4"),
        ({"data.holdout": "0.1", "training.epochs": "90", "search.space.lr.log": "true"}, "abc", "1.2.4"),
    ],
)
def test_features_network_and_source_are_minor_and_training_is_not(
    manifest: Manifest, changes: dict[str, str], code: str, number: str
) -> None:
    before, after = Facts(manifest, SETTINGS, "abc"), Facts(manifest, SETTINGS | changes, code)
    assert next_version("1.2.3", before, after) == number


def test_settings_that_are_not_known_are_no_difference(manifest: Manifest) -> None:
    assert next_version("1.0.0", Facts(manifest), Facts(manifest, SETTINGS, "abc")) == "1.0.1"


def test_a_lost_bundle_makes_the_next_version_major(manifest: Manifest) -> None:
    assert [next_version("1.2.3", *pair) for pair in ((None, Facts(manifest)), (Facts(manifest), None))] == [
        "2.0.0"
    ] * 2

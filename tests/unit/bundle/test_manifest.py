from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.serving import bundles
from winnow.bundle.columns import Column
from winnow.bundle.images import ImageInput
from winnow.bundle.manifest import MANIFEST, read_manifest, sha256_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")


def test_the_digest_is_that_of_the_manifest_as_a_file(bundle: Path) -> None:
    assert read_manifest(bundle).digest == sha256_of(bundle / MANIFEST)


def test_a_manifest_of_numbers_is_written_as_before_there_were_codecs(bundle: Path) -> None:
    assert {"columns", "images"}.isdisjoint(msgspec.json.decode((bundle / MANIFEST).read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "tissue"},
        {"class_names": ("benign", "malignant")},
        {"feature_names": ("a", "b", "c")},
        {"metrics": {"f1": 0.5}},
        {"columns": (Column("a", "boolean", "boolean"), Column("b"), Column("c"))},
        {"images": ImageInput(8, 8)},
        {"files": {"input_example.json": "00" * 32}},
    ],
)
def test_the_digest_covers_all_that_is_served(bundle: Path, change: dict[str, object]) -> None:
    manifest = read_manifest(bundle)
    if "files" in change:
        change = {"files": {**manifest.files, **change["files"]}}  # type: ignore[dict-item]
    changed = msgspec.structs.replace(manifest, **change)
    assert (changed.onnx_sha256 == manifest.onnx_sha256, changed.digest == manifest.digest) == (True, False)

"""The input example of a bundle as it may be published: without a row of the data."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec

from winnow.bundle.images import IMAGE
from winnow.bundle.manifest import EXAMPLE, Manifest

TYPICAL_FORMAT = 2
"""Bundles of format 1 have a row of the holdout as their example."""


def published_example(directory: Path, manifest: Manifest) -> bytes:
    """A body for `POST /predict` with one row: typical values, or zeros where the bundle holds a row of the data."""
    if manifest.format >= TYPICAL_FORMAT:
        return (directory / EXAMPLE).read_bytes()
    names = manifest.feature_names
    row = dict.fromkeys(names, 0.0) if names is not None else _zeros(manifest.input_shape)
    return msgspec.json.encode({"rows": [row]})


def example_row(directory: Path, manifest: Manifest) -> list[Any]:
    """The published example's row, its values in the order of the columns; nested lists for tensors and images."""
    row = msgspec.json.decode(published_example(directory, manifest))["rows"][0]
    if manifest.images is not None and isinstance(row, dict):
        pixels: list[Any] = manifest.images.decode(base64.b64decode(row[IMAGE])).tolist()
        return pixels
    return list(row) if manifest.feature_names is None else [row[name] for name in manifest.feature_names]


def _zeros(shape: tuple[int, ...]) -> Any:
    return [_zeros(shape[1:]) for _ in range(shape[0])] if shape else 0.0

"""What a served model takes and gives, in the terms of its callers.

A `Signature` is the part of the bundle's manifest that decides whether a request is valid, and the version under which
the model is served.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from winnow.bundle.manifest import Manifest

MOST_ROWS = 100_000
MODEL_HEADER = "x-winnow-model"
"""On every answer of a model server: the model's name, version and digest."""


@dataclass(frozen=True)
class Signature:
    """Input and output of one model.

    Attributes:
        version: the registry's version, or a label; part of the address in the Open Inference Protocol.
        digest: sha256 of the bundle's manifest, which names the sha256 of every other file.
        input_shape: shape of one row, without the batch.
        columns: a name per value of a row for tabular models, in order; None for tensors.
        classes: a name per output for classification, in order; None for regression.
        targets: a name per output for regression; the target's name for classification.
        positive: index of the class that is predicted from `threshold` on.
        threshold: its smallest probability at which it is predicted; None: the likeliest class is.
        most_rows: rows that one request may have.
    """

    name: str
    version: str
    digest: str
    input_shape: tuple[int, ...]
    columns: tuple[str, ...] | None
    classes: tuple[str, ...] | None
    targets: tuple[str, ...]
    most_rows: int = MOST_ROWS
    positive: int = 1
    threshold: float | None = None

    @property
    def outputs(self) -> int:
        """Values in one row of the output."""
        return len(self.classes) if self.classes is not None else len(self.targets)

    @property
    def row_values(self) -> int:
        """Numbers in one row of the input."""
        return math.prod(self.input_shape)


def signature_of(manifest: Manifest, version: str | None, most_rows: int = MOST_ROWS) -> Signature:
    """The signature of a bundle; the version is by default the first twelve digits of the digest.

    Raises:
        ValueError: names and shape contradict each other.
    """
    columns = manifest.feature_names
    if columns is not None and (manifest.input_shape != (len(columns),) or len(set(columns)) != len(columns)):
        raise ValueError(
            f"manifest.json: expected one distinct name per column for rows of shape {list(manifest.input_shape)}, "
            f"found {len(columns)} names, {len(set(columns))} of them distinct"
        )
    if manifest.task == "classification" and manifest.class_names is None:
        raise ValueError("manifest.json: expected class_names for a classification model, found none")
    classes = manifest.class_names or ()
    if manifest.threshold is not None and (len(classes) != 2 or manifest.positive not in classes):
        raise ValueError(f"manifest.json: expected a threshold for one of two classes, found {manifest.positive!r}")
    return Signature(
        name=manifest.name,
        version=version or manifest.digest[:12],
        digest=manifest.digest,
        input_shape=manifest.input_shape,
        columns=columns,
        classes=manifest.class_names if manifest.task == "classification" else None,
        targets=manifest.target_names,
        most_rows=most_rows,
        positive=classes.index(manifest.positive) if manifest.positive in classes else 1,
        threshold=manifest.threshold,
    )

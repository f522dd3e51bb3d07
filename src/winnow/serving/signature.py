"""What a served model takes and gives, in the terms of its callers.

A `Signature` is the part of the bundle's manifest that decides whether a request is valid, and the version under which
the model is served.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from winnow.bundle.columns import Column, width_of
from winnow.bundle.images import ImageInput
from winnow.bundle.manifest import Manifest

MOST_ROWS = 100_000
Place = str | tuple[int, ...]
"""A column's name, or an index inside the row's tensor."""
MODEL_HEADER = "x-winnow-model"
"""On every answer of a model server: the model's name, version and digest."""


@dataclass(frozen=True)
class Signature:
    """Input and output of one model.

    Attributes:
        version: the registry's version, or a label; part of the address in the Open Inference Protocol.
        digest: sha256 of the bundle's manifest, which names the sha256 of every other file.
        input_shape: shape of one row of the graph's input, without the batch; for a table its encoded columns.
        columns: the columns of a row for tabular models, in order; None for tensors.
        classes: a name per output for classification, in order; None for regression.
        targets: a name per output for regression; the target's name for classification.
        positive: index of the class that is predicted from `threshold` on.
        threshold: its smallest probability at which it is predicted; None: the likeliest class is.
        images: how an image becomes a row, for models that take images.
        most_rows: rows that one request may have.
    """

    name: str
    version: str
    digest: str
    input_shape: tuple[int, ...]
    columns: tuple[Column, ...] | None
    classes: tuple[str, ...] | None
    targets: tuple[str, ...]
    images: ImageInput | None = None
    most_rows: int = MOST_ROWS
    positive: int = 1
    threshold: float | None = None

    @property
    def outputs(self) -> int:
        """Values in one row of the output."""
        return len(self.classes) if self.classes is not None else len(self.targets)

    @property
    def row_values(self) -> int:
        """Values in one row of a request."""
        return math.prod(self.input_shape) if self.columns is None else len(self.columns)

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """The columns' names; None for tensors."""
        return None if self.columns is None else tuple(column.name for column in self.columns)

    @cached_property
    def is_numeric(self) -> bool:
        """Every value of a row is a number that is its own code."""
        return self.columns is None or all(column.kind == "number" for column in self.columns)

    def place_at(self, index: tuple[int, ...]) -> Place:
        """Where the value stands in a request that is at `index` of the graph's input."""
        return index if self.columns is None else self._names_of_numbers[index[0]]

    @cached_property
    def _names_of_numbers(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns or () for _ in range(column.width))


def signature_of(manifest: Manifest, version: str | None, most_rows: int = MOST_ROWS) -> Signature:
    """The signature of a bundle; the version is by default the first twelve digits of the digest.

    Raises ValueError where names and shape contradict each other.
    """
    columns = manifest.table
    if columns is not None:
        names, width = tuple(column.name for column in columns), width_of(columns)
        if names != manifest.feature_names or len(set(names)) != len(names) or manifest.input_shape != (width,):
            raise ValueError(
                f"manifest.json: expected one distinct name per column for rows of shape {list(manifest.input_shape)}, "
                f"found {len(names)} names, {len(set(names))} of them distinct, for {width} numbers"
            )
    if manifest.images is not None and (columns is not None or manifest.images.shape != manifest.input_shape):
        shapes = f"{list(manifest.images.shape)}, found {list(manifest.input_shape)}"
        raise ValueError(f"manifest.json: expected the images' own shape as the input's, {shapes}")
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
        images=manifest.images,
        most_rows=most_rows,
        positive=classes.index(manifest.positive) if manifest.positive in classes else 1,
        threshold=manifest.threshold,
    )

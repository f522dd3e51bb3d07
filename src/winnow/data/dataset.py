"""The rows of a study as plain arrays, and the digest of their content.

Code outside this folder sees data only as a `DataSet`. The same rows give the same digest from every format, type and
machine: it covers what training sees (features, target, groups, time, names, in order) and not the data's name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column
from winnow.bundle.images import ImageInput
from winnow.data.inputs import InputPlan
from winnow.data.rows import FeatureRows, RowSource

Task = Literal["classification", "regression"]

_DIGEST_VERSION = "1"


@dataclass(frozen=True, eq=False)
class DataSet:
    """The rows of a study.

    Attributes:
        name: the file's, function's or bundled set's name, for display.
        features: float32, shape [rows, *raw_shape]; of a table the encoded columns. NaN where a value is missing. An
            array, or rows that are fetched when they are needed.
        target: int64 [rows] with classes 0..n-1, or float32 [rows, targets].
        groups, time: one value per row, or None.
        feature_names: one per column for tabular data, None for tensors.
        class_names: one per class, or None for regression.
        target_names: one per target; a single one for classification.
        weights: what each row counts in the loss, float32 [rows], at least 0; None: all alike.
        sha256: digest of features, target, groups, time, names, categories and weights.
        images: how rows are decoded from images; None for other data.
        augment: what a data function returned to change training rows: a function, several, or None.
        training: the rows as training reads them, each time anew; None: as they are.
        columns: what each column of a table holds; None for tensors, and for arrays of numbers.
        inputs: how encoded columns become a network's inputs; None where those are the features themselves, scaled.
    """

    name: str
    task: Task
    features: FeatureRows
    target: NDArray[np.int64] | NDArray[np.float32]
    groups: NDArray[np.generic] | None
    time: NDArray[np.generic] | None
    feature_names: tuple[str, ...] | None
    class_names: tuple[str, ...] | None
    target_names: tuple[str, ...]
    sha256: str
    weights: NDArray[np.float32] | None = None
    columns: tuple[Column, ...] | None = None
    images: ImageInput | None = None
    augment: Any = None
    training: RowSource | None = None
    inputs: InputPlan | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.features)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one row of the features, which is what an exported model takes."""
        return tuple(self.features.shape[1:])

    @property
    def table(self) -> tuple[Column, ...] | None:
        """The codec of a table's columns; None for tensors."""
        if self.columns is None and self.feature_names is not None:
            return tuple(Column(name) for name in self.feature_names)
        return self.columns

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row as the network of a model's factory gets it."""
        return self.raw_shape if self.inputs is None else (self.inputs.width,)

    @property
    def prepared_bytes(self) -> int:
        """Size of all rows once they are preprocessed."""
        return 4 * self.rows * (math.prod(self.raw_shape) if self.inputs is None else self.inputs.prepared)

    @property
    def outputs(self) -> int:
        """Outputs that a model of this data needs: classes, or targets."""
        return len(self.class_names) if self.class_names is not None else len(self.target_names)


def digest_of(names: dict[str, tuple[str, ...] | None], arrays: Mapping[str, NDArray[Any] | RowSource | None]) -> str:
    """sha256, in hex, of names and arrays; the order of the dictionaries' keys counts.

    Rows that are fetched are read once, in blocks, and give the digest of an array of the same rows. Images are covered
    as files, and of a `Dataset` that does not fit in memory some items.
    """
    digest = hashlib.sha256(_DIGEST_VERSION.encode())
    digest.update(json.dumps(names, ensure_ascii=True).encode())
    for name, array in arrays.items():
        kind = "" if array is None else "f" if isinstance(array, RowSource) else array.dtype.kind
        header = "none" if array is None else f"{kind}{list(array.shape)}"
        digest.update(f"\n{name}:{header}\n".encode())
        if array is not None:
            for block in _blocks(array):
                digest.update(block)
    return digest.hexdigest()


def _blocks(rows: NDArray[Any] | RowSource) -> Iterable[bytes]:
    """What stands for rows in a digest."""
    if not isinstance(rows, RowSource):
        return (_content(rows),)
    return (_content(block) for block in rows.blocks()) if rows.fingerprint is None else (rows.fingerprint.encode(),)


def _content(array: NDArray[Any]) -> bytes:
    """Little-endian bytes; text as JSON, since numpy's width depends on the longest text."""
    if array.dtype.kind == "U":
        return json.dumps(array.tolist(), ensure_ascii=True).encode()
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(np.int64)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array + 0.0)  # one NaN, and no -0.0
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()

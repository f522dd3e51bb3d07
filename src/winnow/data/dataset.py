"""The rows of a study as plain arrays.

Everything above this folder sees data only as a `DataSet`: who loads it, from where and in what format, ends here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Rows and what is known of them.

    Attributes:
        name: for people: the file's, function's or bundled set's name.
        features: float32, shape [rows, *input_shape].
        target: int64 [rows] with classes 0..n-1, or float32 [rows, targets].
        groups, time: one value per row, or None.
        feature_names: one per column for tabular data, None for tensors.
        class_names: one per class, or None for regression.
        target_names: one per target; a single one for classification.
        sha256: digest of the content (features, target, groups, time, names), whatever the source.
    """

    name: str
    task: Task
    features: NDArray[np.float32]
    target: NDArray[np.int64] | NDArray[np.float32]
    groups: NDArray[np.generic] | None
    time: NDArray[np.generic] | None
    feature_names: tuple[str, ...] | None
    class_names: tuple[str, ...] | None
    target_names: tuple[str, ...]
    sha256: str

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.features)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row, without the batch."""
        return tuple(self.features.shape[1:])

    @property
    def outputs(self) -> int:
        """Outputs that a model of this data needs: classes, or targets."""
        return len(self.class_names) if self.class_names is not None else len(self.target_names)

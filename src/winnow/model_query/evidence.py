"""What gates and comparisons judge by: the answers of two versions to the same rows. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.manifest import Manifest
from winnow.bundle.row_counter import Answering
from winnow.routing import Versioned


@dataclass(frozen=True, eq=False)
class Answers(Versioned):
    """A registered version and its answers.

    Attributes:
        version: the registered version's number.
        outputs: float32 [rows, outputs]: class probabilities or target values, as `model.onnx` gives them.
        folds: the cross-validation's scores of its trial, by metric: float64 [folds]. They are paired with the
            champion's where both have the same data and as many folds.
        fold_rows: rows that each fold trained on and validated on.
        latency_s: seconds of repeated answers to a single row, float64 [repeats]; empty where none was measured.
        size_bytes: of the exported model.
        bundle: the folder of its bundle on this machine, for tests of the user's own.
        semantic: the registered version's semantic version; empty where it is not known.
    """

    version: str
    manifest: Manifest
    outputs: NDArray[np.float32]
    folds: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    fold_rows: tuple[int, int] = (0, 0)
    latency_s: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    size_bytes: int = 0
    bundle: Path | None = None
    semantic: str = ""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The index of the predicted class [rows]: the likeliest, or of two the positive one from the threshold on."""
        names, positive = self.manifest.class_names, self.manifest.positive
        at = names.index(positive) if names and positive else 1
        return Answering(names, at, self.manifest.threshold).predicted(self.outputs)

    @property
    def predictions(self) -> NDArray[Any]:
        """The predicted class names [rows], or values: [rows], or [rows, targets] for several targets."""
        if self.manifest.class_names is not None:
            return np.asarray(self.manifest.class_names, dtype=object)[self.labels]
        return self.outputs[:, 0] if self.outputs.shape[1] == 1 else self.outputs


@dataclass(frozen=True, eq=False)
class Evidence:
    """Rows that the candidate has not seen, what is true of them, and what the versions answer.

    Attributes:
        source: where the rows are from, for people: a file, or `the holdout of study cells`.
        rows: the rows as they were read, a DataFrame with every column, also those that are no features; for tensors
            an array [rows, ...].
        target: class indexes in the candidate's order int64 [rows], or values float [rows, targets].
        champion: None where there is no champion yet.
        is_unseen: bool [rows]: rows that the champion was not trained on. None where that is not known.
        missing: why there are no rows, or why `is_unseen` is not known, as a sentence; empty otherwise.
    """

    source: str
    rows: Any
    target: NDArray[np.generic]
    candidate: Answers
    champion: Answers | None = None
    is_unseen: NDArray[np.bool_] | None = None
    missing: str = ""

    @property
    def truth(self) -> NDArray[Any]:
        """What is true of the rows: class names [rows], or values, [rows] or [rows, targets]."""
        names = self.candidate.manifest.class_names
        if names is not None:
            return np.asarray(names, dtype=object)[np.asarray(self.target, dtype=np.int64)]
        values = np.asarray(self.target).reshape(len(self.target), -1)
        return values[:, 0] if values.shape[1] == 1 else values

    def with_target_columns(self) -> Evidence:
        """The same with the target among the columns of a table, where the rows were read without it."""
        names = self.candidate.manifest.target_names
        if not hasattr(self.rows, "columns") or not len(self.target):
            return self
        columns = self.truth.reshape(len(self.target), -1).T
        lacking = {name: column for name, column in zip(names, columns, strict=True) if name not in self.rows.columns}
        return replace(self, rows=self.rows.assign(**lacking)) if lacking else self

"""The network's outputs for validation rows, kept with each fold: out-of-fold predictions, for the calibration.

A fold keeps `MOST_VALUES` numbers: of more rows, a sample that is the same in every trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from winnow.training.preparation import Prepared

MOST_VALUES = 2**17
"""Of a fold: half a megabyte in the study's database."""

PARQUET = "out_of_fold.parquet"


@dataclass(frozen=True, eq=False)
class FoldOutputs:
    """What a fold's model gave for rows that it had not seen.

    Attributes:
        rows: int64 [rows], indexes into the data set.
        logits: float32 [rows, classes].
        target: int64 [rows].
    """

    fold: int
    rows: NDArray[np.int64]
    logits: Tensor
    target: Tensor


def are_kept(prepared: Prepared) -> bool:
    """Whether anything is calibrated: classes, by winnow's own loop."""
    refit = prepared.experiment.refit
    is_off = refit.temperature == "off" and refit.threshold.type == "off"
    return prepared.data.class_names is not None and prepared.loop is None and not is_off


def kept_outputs(prepared: Prepared, fold: int, raw: Tensor, most: int = MOST_VALUES) -> bytes | None:
    """The outputs [validation rows, classes] as bytes; None where nothing is calibrated."""
    if not are_kept(prepared):
        return None
    places = _places(prepared, fold, most)
    kept: NDArray[np.float32] = raw.detach()[torch.from_numpy(places).to(raw.device)].float().cpu().numpy()
    return kept.tobytes()


def read_outputs(
    prepared: Prepared, kept: Mapping[int, bytes], most: int = MOST_VALUES
) -> tuple[FoldOutputs, ...] | None:
    """The outputs of all folds; None where those of a fold are missing."""
    if not are_kept(prepared) or kept.keys() != set(range(len(prepared.folds))):
        return None
    folds = []
    for fold, content in sorted(kept.items()):
        rows = prepared.folds[fold].validation[_places(prepared, fold, most)]
        logits = np.frombuffer(content, dtype=np.float32).reshape(len(rows), prepared.data.outputs)
        target = torch.from_numpy(prepared.data.target[rows])
        folds.append(FoldOutputs(fold, rows, torch.from_numpy(logits.copy()), target))
    return tuple(folds)


def write_outputs(prepared: Prepared, folds: tuple[FoldOutputs, ...], path: Path) -> None:
    """Write a table: `row` of the data set, `fold` from 1, `target`, and `probability.CLASS` by the fold's model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = prepared.data.class_names or ()
    probabilities = torch.cat([fold.logits for fold in folds]).softmax(1).numpy()
    target = torch.cat([fold.target for fold in folds]).tolist()
    columns = {
        "row": np.concatenate([fold.rows for fold in folds]),
        "fold": np.repeat([fold.fold + 1 for fold in folds], [len(fold.rows) for fold in folds]),
        "target": [names[index] for index in target],
        **{f"probability.{name}": probabilities[:, index] for index, name in enumerate(names)},
    }
    pq.write_table(pa.table(columns), path)


def _places(prepared: Prepared, fold: int, most_values: int) -> NDArray[np.int64]:
    """Which of a fold's validation rows are kept."""
    rows, most = len(prepared.folds[fold].validation), most_values // prepared.data.outputs
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(fold).permutation(rows)[:most])

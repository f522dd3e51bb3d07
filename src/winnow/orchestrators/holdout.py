"""A row of the holdout, to try a served model with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.bundle.columns import decode_row
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.data.sources import load_data
from winnow.data.splits import split_holdout


@dataclass(frozen=True)
class HoldoutRow:
    """A row that no training has seen, and its true answer.

    Attributes:
        body: a request for `/predict` with this row.
        index: the row's number in the data, 0-based.
        truth: its class or target value, as text.
    """

    body: Mapping[str, Any]
    index: int
    truth: str


def holdout_row(experiment: Experiment) -> HoldoutRow:
    """The first row of the experiment's holdout. Raises InputError if the data cannot be read or have no holdout."""
    if not experiment.data.holdout:
        raise InputError(
            "data.holdout",
            expected="a share above 0, so that there is a row that no training has seen",
            found="0",
            remedy="Raise it, and sweep again under another name.",
        )
    data = load_data(experiment.data)
    holdout = split_holdout(data, experiment.data.holdout, experiment.cross_validation.splitter, experiment.search.seed)
    index = int(holdout.holdout[0])
    row = data.features[index : index + 1][0].tolist()
    body = row if data.table is None else decode_row(data.table, row)
    target = data.target[index]
    truth = data.class_names[int(target)] if data.class_names is not None else f"{float(target[0]):.4g}"
    return HoldoutRow({"rows": [body]}, index, truth)

"""The whole line once, on bundled data: sweep, select, serve, predict.

It is the product's main job as a person would do it by hand, one verb after another, so it shares all of its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.config.experiment import Experiment
from winnow.data.sources import load_data
from winnow.data.splits import split_holdout


@dataclass(frozen=True)
class HoldoutRow:
    """One row that no training has seen: a body for `/predict`, and the truth."""

    body: Mapping[str, Any]
    index: int
    truth: str


def holdout_row(experiment: Experiment) -> HoldoutRow:
    """The first row of the experiment's holdout."""
    data = load_data(experiment.data)
    holdout = split_holdout(data, experiment.data.holdout, experiment.cross_validation.splitter, experiment.search.seed)
    index = int(holdout.holdout[0])
    row = data.features[index].tolist()
    body = dict(zip(data.feature_names, row, strict=True)) if data.feature_names is not None else row
    target = data.target[index]
    truth = data.class_names[int(target)] if data.class_names is not None else f"{float(target[0]):.4g}"
    return HoldoutRow({"rows": [body]}, index, truth)

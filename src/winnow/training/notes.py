"""What a user should know of an experiment that can be trained."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from winnow.training.preparation import Prepared


def notes_of(prepared: Prepared) -> tuple[str, ...]:
    """A line for each thing."""
    return tuple(_notes(prepared))


def _notes(prepared: Prepared) -> Iterator[str]:
    experiment, features = prepared.experiment, prepared.data.features
    if prepared.has_tokens and experiment.data.scaling != "none":
        yield (
            f"{experiment.data.source} gives whole numbers, which {experiment.model.factory} looks up in a table: they "
            "are not scaled (data.scaling: none)"
        )
    loop = "" if prepared.loop is None else _source(prepared.loop)
    if loop and experiment.search.pruner.every == "epoch" and ".report(" not in loop:
        yield (
            f"{experiment.training.loop} never calls fold.report, so nothing is pruned by epoch "
            f"(fold.report(epoch, epochs, loss, {prepared.objective}=…))"
        )
    if prepared.loop is not None and isinstance(features, np.ndarray) and "prepared" not in loop:
        blanks = int(np.isnan(features.reshape(len(features), -1)).any(1).sum())
        if blanks:
            yield (
                f"{blanks} of {len(features)} rows have missing values, which {experiment.training.loop} gets as NaN "
                "in fold.train_features; fold.prepared has them filled in"
            )


def _source(function: Callable[..., Any]) -> str:
    """The text of a function's module; empty where it has none."""
    module = sys.modules.get(getattr(function, "__module__", ""))
    try:
        return inspect.getsource(module) if module is not None else ""
    except (OSError, TypeError):
        return ""

"""Compute a model's reference profile (`winnow.bundle.profile`) at the refit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from winnow.bundle.columns import Column, slices_of
from winnow.bundle.profile import (
    CONFIDENCE,
    MOST_COLUMNS,
    PREDICTION,
    QUANTILES,
    ColumnCounts,
    ColumnProfile,
    Losses,
    Profile,
)
from winnow.bundle.row_counter import (
    MOST_LABELS,
    OTHER,
    ROW_STATISTICS,
    Answering,
    InputCounter,
    Numbers,
    OutputCounter,
    row_statistics,
)
from winnow.data.dataset import DataSet
from winnow.data.rows import rows_in, spread
from winnow.training.export import torch_outputs
from winnow.training.metrics import LOSS
from winnow.training.out_of_fold import FoldOutputs
from winnow.training.preparation import Prepared

MOST_ROWS, MOST_BYTES = 100_000, 2**28
"""Rows that are counted, spread over all: more would move no quantile by a hundredth of a bin."""
TABLE_BYTES, BLOCK_BYTES = 2**26, 2**23
"""Rows of a table that are in memory at a time, and rows of tensors, which need not fit in it."""
BINS = 20
FEWEST_ROWS = 5
"""No edge and no quantile rests on fewer rows, so that none is the value of a rare row."""
FEWEST_VALUES = 4 * FEWEST_ROWS
"""A column with fewer values has a single bin, and no sums."""
IMPORTANCE_ROWS, REPEATS, IMPORTANCE_S = 1000, 5, 2.0
"""Rows and repetitions of permutation importances, and about how long all columns may take."""
Answer = Callable[[Numbers], Numbers]


def profile_of(
    model: nn.Module, prepared: Prepared, answering: Answering, folds: Sequence[FoldOutputs] | None, temperature: float
) -> Profile:
    """The profile of a finished model, in eval mode and on the CPU.

    Args:
        folds: out-of-fold outputs, which stand for a holdout where there is none; None where they were not kept.
        temperature: that divides their logits.
    """
    data, holdout = prepared.data, prepared.holdout
    inputs, codec = _inputs(data, _sample(data, holdout.rest))
    outputs, target, source = _unseen(model, prepared, folds, temperature)
    measured = holdout.holdout if len(holdout.holdout) else holdout.rest
    columns = column_profiles(inputs, codec)
    importances = _importances(model, prepared, measured, [each.name for each in columns])
    columns = [msgspec.structs.replace(each, **importances.get(each.name, {})) for each in columns]
    kept = _most_important(columns)
    profiles = _output_profiles(outputs, data, answering)
    counter = OutputCounter(profiles, answering)
    counter.add(outputs)
    return Profile(
        rows=len(inputs),
        columns=tuple(counted_inputs(kept, inputs, codec)),
        outputs=tuple(_with_counts(profiles, counter)),
        output_rows=len(outputs),
        output_source=source,
        losses=_losses(outputs, target, answering),
        left_out=len(columns) - len(kept),
        metric=prepared.objective if importances else "",
    )


def _inputs(data: DataSet, rows: NDArray[np.int64]) -> tuple[Numbers, tuple[Column, ...]]:
    """What is profiled of some rows, [rows, width], and its codec: a table's columns, of tensors `ROW_STATISTICS`."""
    codec = data.table
    if codec is not None:
        return data.features[rows[spread(len(rows), rows_in(TABLE_BYTES, data.features.shape))]], codec
    statistics = [row_statistics(data.features[block]) for block in _blocks(data, rows)]
    return np.concatenate(statistics), tuple(Column(name) for name in ROW_STATISTICS)


def _blocks(data: DataSet, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows, some megabytes at a time."""
    step = rows_in(BLOCK_BYTES, data.features.shape)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def column_profiles(inputs: Numbers, columns: Sequence[Column]) -> list[ColumnProfile]:
    """The bins of every column of encoded training rows, float32 [rows, width], without counts."""
    found = []
    for column, part in zip(columns, slices_of(columns), strict=True):
        values = inputs[:, part.start]
        if column.kind in ("number", "date"):
            found.append(_of_numbers(column.name, column.kind, values))
        else:
            texts = ("false", "true") if column.kind == "boolean" else column.categories
            codes = values[~np.isnan(values) & (values >= 0)].astype(np.int64)
            found.append(_of_codes(column.name, column.kind, texts, np.bincount(codes, minlength=len(texts))))
    return found


def _of_numbers(name: str, kind: str, values: Numbers) -> ColumnProfile:
    present = values[np.isfinite(values)]
    profile = ColumnProfile(name, kind, ColumnCounts(()))  # type: ignore[arg-type]
    if len(present) < FEWEST_VALUES:
        return profile
    numbers = present.astype(np.float64)
    shares = np.clip(QUANTILES, FEWEST_ROWS / len(present), 1 - FEWEST_ROWS / len(present))
    return msgspec.structs.replace(
        profile,
        edges=tuple(map(_shortest, _edges(present))),
        centre=_shortest(np.median(present)),
        scale=float(f"{numbers.std():.6g}") or 1.0,
        quantiles=tuple(map(_shortest, np.quantile(present, shares))),
    )


def _edges(present: Numbers) -> Numbers:
    """Edges between bins of about the same number of rows; a value that many rows have gets a bin of its own."""
    values, times = np.unique(present, return_counts=True)
    frequent = values[times >= FEWEST_ROWS]
    if len(values) <= BINS and len(frequent):
        # One bin for each value, and one below and one above them all.
        return np.concatenate([[np.nextafter(frequent[0], np.float32(-np.inf))], frequent])
    bins = min(BINS, len(present) // FEWEST_ROWS)
    found, times = np.unique(np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf"), return_counts=True)
    return np.union1d(found, np.nextafter(found[times > 1], np.float32(-np.inf)))


def _of_codes(name: str, kind: str, texts: Sequence[str], counts: NDArray[np.int64]) -> ColumnProfile:
    labels: tuple[str, ...] = tuple(texts)
    if len(texts) > MOST_LABELS or not texts:
        frequent = set(np.argsort(-counts, kind="stable")[: MOST_LABELS - 1].tolist())
        labels = (*(text for index, text in enumerate(texts) if index in frequent), OTHER)
    return ColumnProfile(name, kind, ColumnCounts(()), labels=labels)  # type: ignore[arg-type]


def counted_inputs(
    profiles: Sequence[ColumnProfile], inputs: Numbers, columns: Sequence[Column]
) -> list[ColumnProfile]:
    """The same profiles with the counts of these rows."""
    counter = InputCounter(profiles, columns)
    counter.add(inputs)
    return _with_counts(profiles, counter)


def _output_profiles(outputs: Numbers, data: DataSet, answering: Answering) -> list[ColumnProfile]:
    values = answering.values(outputs)
    if answering.classes is None:
        return [_of_numbers(name, "number", values[:, at]) for at, name in enumerate(data.target_names)]
    counts = np.bincount(values[:, 0].astype(np.int64), minlength=len(answering.classes))
    predicted = _of_codes(PREDICTION, "category", answering.classes, counts)
    return [predicted, _of_numbers(CONFIDENCE, "number", values[:, 1])]


def _with_counts(profiles: Sequence[ColumnProfile], counter: InputCounter | OutputCounter) -> list[ColumnProfile]:
    pairs = zip(profiles, counter.counts(), strict=True)
    return [msgspec.structs.replace(profile, counts=counts) for profile, counts in pairs]


def _unseen(
    model: nn.Module, prepared: Prepared, folds: Sequence[FoldOutputs] | None, temperature: float
) -> tuple[Numbers, NDArray[np.generic], str]:
    """Outputs on rows that the model was not trained on, the targets of these rows, and where they are from."""
    data, holdout = prepared.data, prepared.holdout
    if not len(holdout.holdout) and folds:
        logits, target = torch.cat([each.logits for each in folds]), torch.cat([each.target for each in folds])
        return functional.softmax(logits / temperature, dim=1).numpy(), target.numpy(), "folds"
    rows = _sample(data, holdout.holdout if len(holdout.holdout) else holdout.rest)
    source = "holdout" if len(holdout.holdout) else "training"
    answer = answer_of(model)
    outputs = [answer(data.features[block]) for block in _blocks(data, rows)]
    return np.concatenate(outputs), data.target[rows], source


def _losses(outputs: Numbers, target: NDArray[np.generic], answering: Answering) -> dict[str, Losses]:
    if answering.classes is not None:
        return {"accuracy": _loss((answering.predicted(outputs) == target).astype(np.float64))}
    if outputs.shape[1] != 1:
        return {}
    distance = outputs[:, 0].astype(np.float64) - target.reshape(len(target), -1)[:, 0].astype(np.float64)
    return {"absolute_error": _loss(np.abs(distance)), "squared_error": _loss(distance**2)}


def _loss(values: NDArray[np.float64]) -> Losses:
    return Losses(len(values), float(values.mean()), float(values.var()))


def _importances(
    model: nn.Module, prepared: Prepared, rows: NDArray[np.int64], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """By the column's name, `importance` and `importance_std`; empty where they would take too long."""
    data = prepared.data
    columns = data.table
    score = _objective(prepared)
    if columns is None or score is None:
        return {}
    chosen = rows[spread(len(rows), min(IMPORTANCE_ROWS, rows_in(MOST_BYTES, data.features.shape)))]
    inputs, target, answer = data.features[chosen], data.target[chosen], answer_of(model)
    began = time.perf_counter()
    base = score(answer(inputs), target)
    seconds = time.perf_counter() - began
    repeats = min(REPEATS, int(IMPORTANCE_S / max(seconds * len(names), 1e-9)))
    if repeats < 1 or not math.isfinite(base):
        return {}
    random, found = np.random.default_rng(0), {}
    for name, part in zip(names, slices_of(columns), strict=True):
        losses = []
        for _ in range(repeats):
            permuted = inputs.copy()
            permuted[:, part] = inputs[random.permutation(len(inputs)), part]
            losses.append(base - score(answer(permuted), target))
        if np.isfinite(losses).all():
            found[name] = {
                "importance": float(f"{np.mean(losses):.6g}"),
                "importance_std": float(f"{np.std(losses):.6g}"),
            }
    return found


def _objective(prepared: Prepared) -> Callable[[Numbers, NDArray[np.generic]], float] | None:
    """The study's objective from outputs and target, larger being better; None for one of a custom loop alone."""
    spec = next((each for each in prepared.metrics if each.name == prepared.objective), None)
    sign = 1.0 if prepared.goal == "maximize" else -1.0
    if spec is None:
        return None
    of_outputs = spec.score if spec.name != LOSS else None
    is_classifier = prepared.data.class_names is not None

    def score(outputs: Numbers, target: NDArray[np.generic]) -> float:
        found, truth = torch.from_numpy(np.ascontiguousarray(outputs)), torch.from_numpy(target)
        if of_outputs is not None:
            return sign * float(of_outputs(found, truth))
        if is_classifier:
            return -float(functional.nll_loss(found.clamp_min(1e-7).log().double(), truth))
        return -float(functional.mse_loss(found.double(), truth.double()))

    return score


def _most_important(columns: Sequence[ColumnProfile]) -> list[ColumnProfile]:
    """At most `MOST_COLUMNS`, in the order of the table."""
    if len(columns) <= MOST_COLUMNS:
        return list(columns)
    order = sorted(range(len(columns)), key=lambda at: -(columns[at].importance or 0.0))
    return [columns[at] for at in sorted(order[:MOST_COLUMNS])]


def _sample(data: DataSet, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[spread(len(rows), min(MOST_ROWS, rows_in(MOST_BYTES, data.features.shape)))]


def answer_of(model: nn.Module) -> Answer:
    """The model as a function of rows, float32 [rows, *input_shape], that gives float32 [rows, outputs]."""
    return lambda inputs: torch_outputs(model, np.ascontiguousarray(inputs)).reshape(len(inputs), -1)


def _shortest(value: np.floating) -> float:
    """The number with no more digits than tell it from other float32 values."""
    return float(str(np.float32(value)))

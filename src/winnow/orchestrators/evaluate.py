"""Evaluate a registered version on rows, and compare two versions on the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow import fixed_sample
from winnow.bundle.manifest import Manifest
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment, MetricConfig
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_flag
from winnow.data.raw import is_frame
from winnow.finding import Finding, Result
from winnow.model_query import measure
from winnow.model_query.evidence import Answers, Evidence
from winnow.model_query.measure import Measure
from winnow.routing import Versioned

ALPHA = 0.025
"""Of each bound: both together make a 95 % interval."""
MOST_SLICES = 20
PARTS = 4
DEFAULTS = {"classification": ("accuracy", "f1", "auroc", "log_loss"), "regression": ("mae", "rmse", "r2")}


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric of a version on rows.

    Attributes:
        name: the metric's.
        value: None where it is not defined for these rows.
        low, high: its 95 % interval; None with fewer than 30 rows.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RowSlice:
    """Some of the rows, and the metrics on them.

    Attributes:
        name: which rows: `all`, or `COLUMN = VALUE`.
        rows: how many.
        metrics: in the order of the study.
    """

    name: str
    rows: int
    metrics: tuple[MeasuredMetric, ...]


@dataclass(frozen=True)
class Evaluation(Versioned):
    """A version on rows that it was not trained on.

    Attributes:
        name: the model's.
        version: the version's number.
        source: where the rows are from.
        slices: all rows first, then those of each value of the column that was named.
        semantic: its semantic version; empty where it is not known.
    """

    name: str
    version: str
    source: str
    slices: tuple[RowSlice, ...]
    semantic: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two versions on the same rows, which neither was trained on.

    Attributes:
        name: the model's.
        a, b: the versions' numbers.
        source: where the rows are from.
        values: of each metric, that of a and that of b.
        findings: for each metric by how much b is better: `pass` where it is, `fail` where it is worse.
        verdict: the first metric's finding as a sentence.
    """

    name: str
    a: str
    b: str
    source: str
    values: dict[str, tuple[float, float]]
    findings: tuple[Finding, ...]
    verdict: str


def metrics_of(experiment: Experiment | None, manifest: Manifest, named: Sequence[str]) -> tuple[MetricConfig, ...]:
    """The metrics to measure: those named, else the study's, its objective first, else usual ones of the task."""
    if named:
        return tuple(MetricConfig(name=each) for each in named)
    if experiment is not None:
        return (experiment.search.metric, *experiment.search.metrics)
    return tuple(MetricConfig(name=each) for each in DEFAULTS[manifest.task])


def evaluate(name: str, evidence: Evidence, metrics: Sequence[MetricConfig], by: str | None = None) -> Evaluation:
    """Measure the candidate of an evidence on its rows. Pure.

    `by`: a column of the rows, whose values part them. More than 20 numbers are parted at their quartiles. Raises
    InputError if there are no rows, no such metric, or no such column.
    """
    if evidence.missing:
        raise InputError(
            next_flag("input"), expected="rows to evaluate on", found=evidence.missing, remedy="Name a file of rows."
        )
    measures = [measure.measure_of(each, evidence.candidate.manifest, next_flag("metric")) for each in metrics]
    parts = [("all", np.ones(len(evidence.target), dtype=np.bool_))]
    if by is not None:
        parts += slices_of(evidence.rows, by, evidence.source)
    slices = tuple(
        RowSlice(which, int(is_in.sum()), tuple(_measured(each, evidence, is_in) for each in measures))
        for which, is_in in parts
    )
    return Evaluation(name, evidence.candidate.version, evidence.source, slices, evidence.candidate.semantic)


def compare(name: str, evidence: Evidence, metrics: Sequence[MetricConfig]) -> Comparison:
    """Compare the candidate (b) with the other version (a), paired on the rows that neither has seen. Pure.

    Raises InputError if there are no such rows, or no such metric.
    """
    other, is_unseen = evidence.champion, evidence.is_unseen
    assert other is not None
    if evidence.missing or is_unseen is None or not is_unseen.any():
        found = evidence.missing or "that each row was trained on by one of them"
        raise InputError(
            next_flag("input"), expected="rows that neither version was trained on", found=found, remedy="Name others."
        )
    candidate = evidence.candidate
    names = candidate.manifest.class_names
    target = evidence.target[is_unseen]
    b = replace(candidate, outputs=candidate.outputs[is_unseen])
    a = replace(other, outputs=other.outputs[is_unseen])
    a = a if names is None else measure.aligned(a, names)
    measures = [measure.measure_of(each, candidate.manifest, next_flag("metric")) for each in metrics]
    findings = tuple(_difference(each, a, b, target) for each in measures)
    seen = int((~is_unseen).sum())
    source = evidence.source + (f", less {seen} rows that version {other.label} was trained on" if seen else "")
    values = {each.name: (each.of(a, target), each.of(b, target)) for each in measures}
    first = findings[0]
    low, high = first.interval
    interval = "" if low is None or high is None else f" (95 % interval {low:+.4g} to {high:+.4g})"
    verdict = {
        Result.PASS: f"Version {b.label} is better than version {a.label}",
        Result.FAIL: f"Version {b.label} is worse than version {a.label}",
        Result.NOT_ENOUGH_DATA: f"The rows do not tell versions {a.label} and {b.label} apart",
    }[first.result]
    numbers = "{:.4g} against {:.4g}".format(*reversed(values[first.condition]))
    more = f"; {first.reason}" if first.result is Result.NOT_ENOUGH_DATA else ""
    verdict = f"{verdict}: {first.condition} {numbers} on {first.n} rows, {first.estimate:+.4g}{interval}{more}."
    return Comparison(name, a.version, b.version, source, values, findings, verdict)


def slices_of(rows: Any, by: str, source: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """The parts of the rows by a column's values, bool [rows] each.

    Raises InputError if there is no such column, or it has too many texts.
    """
    columns = list(rows.columns) if is_frame(rows) else []
    if by not in columns:
        raise InputError(
            next_flag("by"),
            expected=f"a column of {source}",
            found=f"'{by}'",
            remedy=did_you_mean(by, columns) or f"Its columns are {', '.join(columns[:12]) or 'none: it is no table'}.",
        )
    values = rows[by]
    is_missing = values.isna().to_numpy(dtype=np.bool_)
    distinct = sorted(values.dropna().unique().tolist(), key=lambda value: (str(type(value)), value))
    if len(distinct) > MOST_SLICES:
        if values.dtype.kind not in "iuf":
            raise InputError(
                next_flag("by"),
                expected=f"a column of at most {MOST_SLICES} values, or of numbers",
                found=f"{len(distinct)} values in '{by}'",
                remedy="Name another column.",
            )
        parts = list(_quartiles(values.to_numpy(dtype=np.float64, na_value=np.nan), by))
    else:
        parts = [(f"{by} = {value}", (values == value).fillna(value=False).to_numpy(np.bool_)) for value in distinct]
    return [*parts, *([(f"{by} is missing", is_missing)] if is_missing.any() else [])]


def _quartiles(values: NDArray[np.float64], by: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, PARTS + 1)))
    for index, (low, high) in enumerate(itertools.pairwise(edges)):
        is_last = index == len(edges) - 2
        is_in = (values >= low) & ((values <= high) if is_last else (values < high))
        yield f"{by} {low:.4g} to {'' if is_last else 'below '}{high:.4g}", is_in


def _measured(metric: Measure, evidence: Evidence, is_in: NDArray[np.bool_]) -> MeasuredMetric:
    answers = replace(evidence.candidate, outputs=evidence.candidate.outputs[is_in])
    if not is_in.any():
        return MeasuredMetric(metric.name, None, None, None)
    found = measure.estimate(metric, answers, evidence.target[is_in], ALPHA)
    value = found.value if np.isfinite(found.value) else None
    return MeasuredMetric(metric.name, value, found.low, found.high)


def _difference(metric: Measure, a: Answers, b: Answers, target: NDArray[np.generic]) -> Finding:
    found = measure.difference(metric, b, a, target, ALPHA)
    low, high = found.low, found.high
    result, reason = Result.NOT_ENOUGH_DATA, f"{found.n} rows are too few for a verdict"
    if low is not None and high is not None:
        if low > 0 or high < 0:
            result = Result.PASS if low > 0 else Result.FAIL
            reason = f"{metric.name} is {'better' if low > 0 else 'worse'} by {abs(found.value):.4g}"
        elif found.value:
            needed = fixed_sample.rows_needed(found.n, found.value, low if found.value > 0 else high, 0.0)
            reason = (
                "if the difference stays, " + ("more rows" if needed is None else f"about {needed} rows") + " show it"
            )
        else:
            reason = "there is no difference"
    rule = "paired bootstrap of the rows, 95 % interval"
    return Finding(metric.name, found.value, (low, high), found.n, 0.0, rule, result, reason)

"""What the evidence says about each gate.

A gate passes where a bound shows its demand, fails where already the estimate does not meet it, and says
`not_enough_data` otherwise. As all gates of a stage have to pass, a version that does not meet some demand is promoted
with probability 1 - confidence of that gate at most, however many gates there are.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from winnow import fixed_sample
from winnow.bundle.manifest import Manifest
from winnow.config.errors import InputError
from winnow.config.experiment import MetricConfig
from winnow.config.functions import load_function
from winnow.config.nearest import did_you_mean
from winnow.finding import Finding, Result
from winnow.model_query import business, fairness, gate_tests, measure
from winnow.model_query.evidence import Answers, Evidence
from winnow.model_query.gates import (
    BusinessGate,
    ChampionGate,
    CrossValidationGate,
    FairnessGate,
    Gate,
    LatencyGate,
    McNemarGate,
    MetricGate,
    SizeGate,
    TestsGate,
    compares,
    limits,
)
from winnow.model_query.measure import FEWEST_ROWS, Estimate, Measure
from winnow.training.metrics import LOSS

MIB = 1024**2
SHOWN_CONFIDENCE = 0.95
"""Of the interval that is shown where a gate asks for no proof."""
Judge = Callable[[], Finding]
Compare = Callable[[Evidence, Answers], Finding]


def judge(gates: Sequence[Gate], evidence: Evidence, place: str) -> tuple[Finding, ...]:
    """One finding per gate, in their order. The version is promoted where all results are `pass`.

    Args:
        place: of the gates, for errors: `rules.yaml: gates.production`.

    Raises:
        InputError: a gate names a metric, column, function or file that does not exist or does not fit, or the
            champion predicts something else. Nothing is judged then.
    """
    if evidence.champion is not None and any(map(compares, gates)):
        evidence = replace(evidence, champion=_alike(evidence.candidate, evidence.champion))
    evidence = evidence.with_target_columns()
    ready = [_ready(gate, evidence, f"{place}[{index}]") for index, gate in enumerate(gates)]
    return tuple(each() for each in ready)


def _ready(gate: Gate, evidence: Evidence, place: str) -> Judge:
    """How to judge a gate, once all that it names is found."""
    manifest, key = evidence.candidate.manifest, f"{place}.metric"
    if isinstance(gate, MetricGate):
        return functools.partial(_metric, gate, measure.measure_of(gate.metric, manifest, key), evidence)
    if isinstance(gate, ChampionGate):
        found = _directed(measure.measure_of(gate.metric, manifest, key), key)
        return _against_champion(gate, evidence, functools.partial(_champion, gate, found))
    if isinstance(gate, McNemarGate):
        if manifest.task != "classification":
            raise InputError(
                place, expected="a model of classes", found="one of values", remedy="Take a `champion` gate instead."
            )
        return _against_champion(gate, evidence, functools.partial(_mcnemar, gate))
    if isinstance(gate, CrossValidationGate):
        sign = _sign_of_folds(gate, evidence.candidate, place)
        return functools.partial(_cross_validation, gate, sign, evidence)
    if isinstance(gate, FairnessGate):
        found = measure.rate_of(gate.metric.name, manifest) or measure.measure_of(gate.metric, manifest, key)
        groups = fairness.groups_of(evidence, gate.column, f"{place}.column")
        return functools.partial(_fairness, gate, found, groups, evidence)
    if isinstance(gate, BusinessGate):
        value = business.Value(gate.function, load_function(gate.function, f"{place}.function"), f"{place}.function")
        if gate.is_comparing:
            return _against_champion(gate, evidence, functools.partial(_business_over, gate, value))
        return functools.partial(_business, gate, value, evidence)
    if isinstance(gate, LatencyGate):
        return functools.partial(_latency, gate, evidence.candidate.latency_s)
    if isinstance(gate, SizeGate):
        return functools.partial(_size, gate, evidence.candidate.size_bytes)
    return functools.partial(_tests, gate, gate_tests.file_of(gate, evidence, f"{place}.file"), evidence)


def _metric(gate: MetricGate, found: Measure, evidence: Evidence) -> Finding:
    rows = len(evidence.target)
    if not rows:
        return _no_rows(gate, evidence)
    estimate = measure.estimate(found, evidence.candidate, evidence.target, _alpha(gate.confidence))
    return _within(gate, estimate, gate.min, gate.max, f"{found.name} is", "bootstrap")


def _champion(gate: ChampionGate, found: Measure, evidence: Evidence, champion: Answers) -> Finding:
    alpha, is_relative = _alpha(gate.confidence), gate.scale == "relative"
    gained = measure.difference(found, evidence.candidate, champion, evidence.target, alpha, is_relative=is_relative)
    own, other = (found.of(each, evidence.target) for each in (evidence.candidate, champion))
    said = f"{found.name} is {own:.4g} and the champion's {other:.4g}, a {'relative ' if is_relative else ''}gain of"
    return _within(gate, gained, gate.margin, None, said, "paired bootstrap")


def _mcnemar(gate: McNemarGate, evidence: Evidence, champion: Answers) -> Finding:
    """By the rows that only one version has right."""
    target, alpha, n = evidence.target, _alpha(gate.confidence), len(evidence.target)
    own, other = (each.labels == target for each in (evidence.candidate, champion))
    gained, lost = int((own & ~other).sum()), int((other & ~own).sum())
    value, rule = (gained - lost) / n, "exact McNemar test"
    bounds = fixed_sample.share_bounds(gained, gained + lost, alpha)
    low, high = ((2 * float(each) - 1) * (gained + lost) / n for each in bounds)
    p = float(fixed_sample.mcnemar(gained, lost))
    said = f"{gained} of {n} rows are right for the candidate alone, {lost} for the champion alone (p = {p:.3g})"
    if gained <= lost:
        result = Result.FAIL
    elif gate.confidence is None or p <= alpha:
        result = Result.PASS
    else:
        result, said = Result.NOT_ENOUGH_DATA, f"{said}; {_would_do([fixed_sample.rows_needed(n, value, low, 0.0)])}"
    return Finding(str(gate), value, (low, high), n, 0.0, rule, result, said)


def _cross_validation(gate: CrossValidationGate, sign: float, evidence: Evidence) -> Finding:
    """By the folds, which both versions have to share."""
    own, champion = evidence.candidate, evidence.champion
    if champion is None:
        return _not_applicable(gate)
    mine, others = own.folds.get(gate.metric), champion.folds.get(gate.metric)
    lacking = ""
    if mine is None:
        lacking = f"{gate.metric} of the folds is not known of the candidate"
    elif others is None:
        lacking = (
            f"there is no {gate.metric} of the champion on the same folds: other data, folds or seed, or none kept"
        )
    elif own.manifest.data_sha256 != champion.manifest.data_sha256 or own.fold_rows != champion.fold_rows:
        lacking = "the champion was cross-validated on other data, so that the folds cannot be paired"
    elif gate.scale == "relative" and not others.mean():
        lacking = f"the champion's {gate.metric} is 0, which has no shares"
    elif not own.fold_rows[0]:
        lacking = "it is not known how many rows each fold was trained on"
    elif len(mine) != len(others) or len(mine) < 2:
        lacking = f"{len(mine)} and {len(others)} folds cannot be paired"
    if mine is None or others is None or lacking:
        return _lacking(gate, lacking, 0, gate.margin)
    gains = sign * (mine - others)
    if gate.scale == "relative":
        gains = gains / abs(float(others.mean()))
    mean, low, high = map(float, fixed_sample.fold_difference(gains, *own.fold_rows, _alpha(gate.confidence)))
    said = f"{gate.metric} of {len(mine)} folds is {mine.mean():.4g} and the champion's {others.mean():.4g}, a gain of"
    if gate.confidence is not None and np.ptp(gains) == 0:
        return _lacking(gate, f"{said} {mean:.4g} in each, which leaves nothing to test by", len(mine), gate.margin)
    estimate = Estimate(mean, low, high, len(mine))
    return _within(gate, estimate, gate.margin, None, said, "corrected resampled t-test", counted="folds", fewest=2)


def _fairness(gate: FairnessGate, found: Measure, groups: fairness.Groups | None, evidence: Evidence) -> Finding:
    if groups is None:
        return _no_rows(gate, evidence)
    is_ratio = gate.min_ratio is not None
    small = [f"'{name}' has {rows}" for name, rows in groups.sizes.items() if rows < FEWEST_ROWS]
    estimate = fairness.disparity(
        found, evidence.candidate, evidence.target, groups, _alpha(gate.confidence), is_ratio=is_ratio
    )
    values = ", ".join(f"{name} {value:.4g}" for name, value in groups.values(found, evidence).items())
    said = f"{found.name} by {gate.column} is {values}: {'ratio' if is_ratio else 'difference'}"
    if small:
        lacking = f"each group needs {FEWEST_ROWS} rows: {', '.join(small)}"
        return _lacking(gate, lacking, estimate.n, gate.min_ratio or gate.max_difference or 0.0)
    return _within(gate, estimate, gate.min_ratio, gate.max_difference, said, "bootstrap by group")


def _business(gate: BusinessGate, value: business.Value, evidence: Evidence) -> Finding:
    if not len(evidence.target):
        return _no_rows(gate, evidence)
    found = business.estimate(value, evidence.rows, [evidence.candidate], gate.confidence)
    return _within(gate, found, gate.min, gate.max, f"{value.name} is", "bootstrap")


def _business_over(gate: BusinessGate, value: business.Value, evidence: Evidence, champion: Answers) -> Finding:
    versions, sign = [evidence.candidate, champion], -1.0 if gate.goal == "minimize" else 1.0
    is_relative = gate.scale == "relative"
    found = business.estimate(value, evidence.rows, versions, gate.confidence, sign=sign, is_relative=is_relative)
    own, other = (value(evidence.rows, each.predictions) for each in versions)
    said = f"{value.name} is {own:.4g} and the champion's {other:.4g}, a {'relative ' if is_relative else ''}gain of"
    return _within(gate, found, gate.margin, None, said, "paired bootstrap")


def _latency(gate: LatencyGate, latency_s: NDArray[np.float64]) -> Finding:
    alpha, n = _alpha(gate.confidence), len(latency_s)
    if not n:
        return _lacking(gate, "no latency was measured", 0, gate.max_ms)
    value = float(np.quantile(latency_s, gate.quantile)) * 1e3
    low, high = fixed_sample.quantile_bounds(latency_s * 1e3, gate.quantile, alpha)
    estimate, fewest = Estimate(value, low, high, n), fixed_sample.rows_for_quantile(gate.quantile, alpha)
    said = f"{gate.quantile:.3g} of the answers take up to"
    return _within(
        gate, estimate, None, gate.max_ms, said, "sorted latencies", counted="answers", unit=" ms", fewest=fewest
    )


def _size(gate: SizeGate, size_bytes: int) -> Finding:
    if not size_bytes:
        return _lacking(gate, "the model's size is not known", 0, gate.max_mib)
    size = size_bytes / MIB
    result = Result.PASS if size <= gate.max_mib else Result.FAIL
    said = f"model.onnx has {size:.4g} MiB; at most {gate.max_mib:g} is demanded"
    return Finding(str(gate), size, (size, size), 1, gate.max_mib, "compared", result, said)


def _tests(gate: TestsGate, file: Path, evidence: Evidence) -> Finding:
    if not len(evidence.target):
        return _no_rows(gate, evidence)
    has_passed, tests, said = gate_tests.run(file, gate.timeout_s, evidence)
    result = Result.PASS if has_passed else Result.FAIL
    return Finding(str(gate), None, (None, None), tests, 0.0, "pytest", result, said)


def _within(
    gate: Gate,
    found: Estimate,
    low: float | None,
    high: float | None,
    said: str,
    rule: str,
    *,
    counted: str = "rows",
    unit: str = "",
    fewest: int = FEWEST_ROWS,
) -> Finding:
    """Compare an estimate and its bounds with what is demanded.

    Args:
        low, high: the demand; None where there is none.
        said: what the number is, as the beginning of a sentence.
        counted: what `found.n` counts.
        fewest: of them that have bounds.
    """
    confidence: float | None = getattr(gate, "confidence", None)
    value, n, interval, margin = found.value, found.n, (found.low, found.high), low if low is not None else high or 0.0
    if not math.isfinite(value):
        return _lacking(gate, f"{said} not defined for these {n} {counted}", n, margin)
    between = "" if found.low is None or found.high is None else f" ({found.low:.4g} to {found.high:.4g})"
    said = f"{said} {value:.4g}{unit}{between} on {n} {counted}; {limits(low, high, unit)} is demanded"
    is_met = (low is None or value >= low) and (high is None or value <= high)
    if confidence is None or not is_met:
        result = Result.PASS if is_met else Result.FAIL
        return Finding(str(gate), value, interval, n, margin, "compared", result, said)
    rule = f"{rule}, bounds at {confidence:.4g}"
    open_below = low is not None and (found.low is None or found.low < low)
    open_above = high is not None and (found.high is None or found.high > high)
    if not open_below and not open_above:
        return Finding(str(gate), value, interval, n, margin, rule, Result.PASS, said)
    needed = []
    for is_open, bound, limit in ((open_below, found.low, low), (open_above, found.high, high)):
        if is_open and limit is not None:
            needed.append(None if bound is None else fixed_sample.rows_needed(n, value, bound, limit))
    lacking = f"at least {fewest} {counted} are needed" if n < fewest else _would_do(needed, counted)
    reason = f"{said}, and not shown: {lacking}"
    return Finding(str(gate), value, interval, n, margin, rule, Result.NOT_ENOUGH_DATA, reason)


def _against_champion(gate: Gate, evidence: Evidence, compare: Compare) -> Judge:
    """A comparison on the rows that neither version was trained on."""

    def find() -> Finding:
        champion, is_unseen = evidence.champion, evidence.is_unseen
        if champion is None:
            return _not_applicable(gate)
        if not len(evidence.target) or is_unseen is None:
            return _no_rows(gate, evidence)
        if not is_unseen.any():
            seen = f"the champion was trained on all {len(is_unseen)} rows of {evidence.source}"
            return _lacking(gate, f"{seen}: name other rows as the input", 0)
        rows = np.flatnonzero(is_unseen)
        candidate = replace(evidence.candidate, outputs=evidence.candidate.outputs[rows])
        unseen = replace(
            evidence, rows=business.taken(evidence.rows, rows), target=evidence.target[rows], candidate=candidate
        )
        return compare(unseen, replace(champion, outputs=champion.outputs[rows]))

    return find


def _not_applicable(gate: Gate) -> Finding:
    reason = "not applicable: no other version is champion"
    return Finding(str(gate), None, (None, None), 0, 0.0, "not applicable", Result.PASS, reason)


def _no_rows(gate: Gate, evidence: Evidence) -> Finding:
    return _lacking(gate, evidence.missing or f"{evidence.source} has no rows for this gate", 0)


def _lacking(gate: Gate, reason: str, n: int, margin: float = 0.0) -> Finding:
    return Finding(str(gate), None, (None, None), n, margin, "none", Result.NOT_ENOUGH_DATA, reason)


def _would_do(needed: Sequence[int | None], counted: str = "rows") -> str:
    """How many rows would meet every demand; None among them: no number is known."""
    known = [each for each in needed if each is not None]
    if len(known) < len(needed):
        return "no number of rows is known to do"
    return f"about {max(known):,} {counted} would do"


def _alpha(confidence: float | None) -> float:
    return 1 - (SHOWN_CONFIDENCE if confidence is None else confidence)


def _directed(found: Measure, place: str) -> Measure:
    """The metric, which has to have a better direction. Raises InputError where it has none."""
    if found.goal is None:
        raise InputError(
            place,
            expected="a metric with a better direction",
            found=f"{found.name}, which declares none",
            remedy=f"Write {{name: {found.name}, goal: maximize}} or `goal: minimize`.",
        )
    return found


def _sign_of_folds(gate: CrossValidationGate, candidate: Answers, place: str) -> float:
    """1 where more is better, otherwise -1.

    Raises InputError where the candidate's folds have no such metric, or its direction is not known.
    """
    if candidate.folds and gate.metric not in candidate.folds:
        raise InputError(
            f"{place}.metric",
            expected=f"one of {', '.join(candidate.folds)}, which the folds of version {candidate.version} have",
            found=repr(gate.metric),
            remedy=did_you_mean(gate.metric, candidate.folds) or "Name one of these.",
        )
    if gate.goal is not None:
        return 1.0 if gate.goal == "maximize" else -1.0
    name = gate.metric.partition(".")[0]
    if name == LOSS:
        return -1.0
    try:
        config = MetricConfig(name=name)
        found = _directed(measure.measure_of(config, candidate.manifest, f"{place}.metric"), f"{place}.metric")
    except InputError as error:
        raise InputError(
            f"{place}.goal",
            expected=f"`goal: maximize` or `goal: minimize` for {gate.metric}",
            found="none",
            remedy="Add it: winnow does not know this metric's better direction.",
        ) from error
    return 1.0 if found.goal == "maximize" else -1.0


def _alike(candidate: Answers, champion: Answers) -> Answers:
    """The champion's answers with the candidate's order of classes.

    Raises InputError where the versions do not predict the same.
    """
    own, other = candidate.manifest, champion.manifest
    is_alike = own.task == other.task and (
        set(own.class_names or ()) == set(other.class_names or ())
        if own.class_names is not None
        else own.target_names == other.target_names
    )
    if not is_alike:
        raise InputError(
            f"champion, version {champion.version}",
            expected=f"{_predicted(own)}, as version {candidate.version} predicts",
            found=_predicted(other),
            remedy="Versions that predict something else cannot be compared: leave out the gates that compare.",
        )
    return measure.aligned(champion, own.class_names or ())


def _predicted(manifest: Manifest) -> str:
    if manifest.class_names is not None:
        return f"the classes {', '.join(manifest.class_names)}"
    return f"the values {', '.join(manifest.target_names)}"

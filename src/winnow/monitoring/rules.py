"""Evaluate `monitoring.rules` on what replicas have counted: limits that hold whatever the tests for drift say. Pure.

A limit is compared with what was counted, as Prometheus does with the same rule, without regard to how few requests
there were; `not_enough_data` means that there were none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from winnow.bundle.profile import PREDICTION, ColumnProfile, Profile
from winnow.config.errors import InputError
from winnow.config.monitoring import RuleConfig
from winnow.config.nearest import did_you_mean
from winnow.finding import Finding, Result
from winnow.monitoring.drift import mean_shift
from winnow.monitoring.live import LiveCounts
from winnow.serving.metrics import BUCKETS_S

PSI_FLOOR = 1e-4
"""Least share of a bin in a rule's PSI, so that an empty bin gives a number."""
ABOUT_ANSWERS = ("error_rate", "latency")
"""Metrics about the answers themselves: another version may mend them, where drift would find it as well."""


def check_rules(rules: Sequence[RuleConfig], profile: Profile, place: str) -> None:
    """Raise InputError where a rule names a column or a class that the model does not have.

    Args:
        place: what an error names before the rule's key, such as the experiment file.
    """
    for rule in rules:
        if rule.column is not None:
            _check_column(rule, profile, f"{place}: monitoring.rules.{rule.name}.column")
        elif rule.of_class is not None:
            classes = _classes(profile)
            if rule.of_class not in classes:
                remedy = did_you_mean(rule.of_class, classes) or "Name one of them."
                raise InputError(
                    f"{place}: monitoring.rules.{rule.name}.of_class",
                    expected=f"one of the model's classes: {', '.join(classes)}" if classes else "a classifier",
                    found=f"'{rule.of_class}'",
                    remedy=remedy if classes else "Use `mean` or `psi` of an output instead.",
                )


def evaluate(rule: RuleConfig, profile: Profile, live: LiveCounts) -> Finding:
    """Compare what was counted in a window with a rule's limit.

    Args:
        live: of the last `rule.over`, or of as much of it as is known.

    Returns:
        A finding in the metric's base unit: a share, seconds, standard deviations, or a number. It fails where the
        value is beyond the limit.
    """
    limit, side = rule.limit
    estimate, n = _measured(rule, profile, live)
    text = f"{_subject(rule)} {side} {rule.above or rule.below}"
    if estimate is None:
        reason = f"{_subject(rule)} is not known: no requests were counted."
        return Finding(rule.name, None, (None, None), n, limit, text, Result.NOT_ENOUGH_DATA, reason)
    is_beyond = estimate > limit if side == "above" else estimate < limit
    shown, unit = _shown(rule, estimate), rule.above or rule.below
    reason = f"{_subject(rule)} is {shown}, {'' if is_beyond else 'not '}{side} {unit}."
    return Finding(rule.name, estimate, (None, None), n, limit, text, Result.FAIL if is_beyond else Result.PASS, reason)


def latency_quantile_s(latency: Sequence[int], share: float) -> float | None:
    """The answer time in seconds that a share of the requests does not exceed; None without requests.

    Interpolated linearly in its class, and the last bound for the open class: Prometheus' `histogram_quantile`.

    Args:
        latency: requests in each class of `BUCKETS_S`, and slower ones.
    """
    wanted, seen = share * sum(latency), 0
    for index, count in enumerate(latency):
        if count and seen + count >= wanted:
            if index >= len(BUCKETS_S):
                return BUCKETS_S[-1]
            low, high = (BUCKETS_S[index - 1] if index else 0.0), BUCKETS_S[index]
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return None


def _measured(rule: RuleConfig, profile: Profile, live: LiveCounts) -> tuple[float | None, int]:
    """The value of a rule's metric, None where there is none, and how many requests, rows or replicas it rests on."""
    if rule.metric == "live_replicas":
        return float(live.replicas), live.replicas
    if rule.metric == "request_rate":
        return live.requests / max(live.until - live.since, 1e-9), live.requests
    if rule.metric == "error_rate":
        return (live.errors / live.requests if live.requests else None), live.requests
    if rule.metric == "latency":
        return latency_quantile_s(live.latency, rule.quantile), sum(live.latency)
    if rule.metric == "prediction_share":
        counts = live.outputs.get(PREDICTION)
        if counts is None or not counts.rows:
            return None, 0
        return counts.bins[_classes(profile).index(rule.of_class or "")] / counts.rows, counts.rows
    return _of_column(rule, profile, live)


def _of_column(rule: RuleConfig, profile: Profile, live: LiveCounts) -> tuple[float | None, int]:
    column = _column(profile, rule.column or "")
    counts = live.columns.get(rule.column or "") or live.outputs.get(rule.column or "")
    if column is None or counts is None or not counts.rows:
        return None, 0
    if rule.metric == "missing":
        return counts.missing / counts.rows, counts.rows
    if rule.metric == "unknown":
        return counts.unknown / counts.rows, counts.rows
    if rule.metric == "psi":
        cells = [(*each.bins, each.missing, each.unknown) for each in (column.counts, counts)]
        shares = [[max(count / sum(each), PSI_FLOOR) for count in each] for each in cells]
        return sum((q - p) * math.log(q / p) for p, q in zip(*shares, strict=True)), counts.rows
    shift = mean_shift(column, counts)
    return (None if shift is None else abs(shift)), sum(counts.bins)


def _check_column(rule: RuleConfig, profile: Profile, place: str) -> None:
    column = _column(profile, rule.column or "")
    if column is None:
        known = [each.name for each in (*profile.columns, *profile.outputs)]
        left_out = f" ({profile.left_out} columns of little importance are not counted)" if profile.left_out else ""
        shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
        raise InputError(
            place,
            expected=f"a column or output of the model: {shown}{left_out}",
            found=f"'{rule.column}'",
            remedy=did_you_mean(rule.column or "", known) or "Name one of them.",
        )
    fits = {"mean": column.kind == "number", "unknown": column.kind == "category"}.get(rule.metric, True)
    if not fits:
        raise InputError(
            place,
            expected="a column of numbers" if rule.metric == "mean" else "a column of categories",
            found=f"'{rule.column}', of kind {column.kind}",
            remedy="Use `psi` or `missing`, which every column has.",
        )


def _column(profile: Profile, name: str) -> ColumnProfile | None:
    return profile.column(name) or next((each for each in profile.outputs if each.name == name), None)


def _classes(profile: Profile) -> tuple[str, ...]:
    return next((each.labels for each in profile.outputs if each.name == PREDICTION), ())


def _subject(rule: RuleConfig) -> str:
    """What a rule measures, to begin a sentence with."""
    return {
        "error_rate": "The share of failed requests",
        "request_rate": "The rate of requests",
        "latency": f"The {100 * rule.quantile:g} % quantile of the answer times",
        "missing": f"The share of rows without {rule.column}",
        "unknown": f"The share of rows with an unknown {rule.column}",
        "mean": f"The distance of {rule.column}'s mean from the training rows",
        "psi": f"The PSI of {rule.column}",
        "prediction_share": f"The share of predictions of {rule.of_class}",
        "live_replicas": "The number of replicas that answer",
    }[rule.metric]


def _shown(rule: RuleConfig, value: float) -> str:
    unit: Literal["share", "seconds", "number"] = (
        "seconds" if rule.metric == "latency" else "share" if "%" in (rule.above or rule.below or "") else "number"
    )
    if unit == "share":
        return f"{100 * value:.3g} %"
    if unit == "seconds":
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g}"

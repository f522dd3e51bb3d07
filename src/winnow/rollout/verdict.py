"""What the observed requests say about one step of a rollout.

α, the probability that a rollout of an equal candidate fails, is split evenly over the steps with conditions
(`plan.steps_of`), and a step's part evenly over its conditions that count requests. The probability that a worse
candidate passes a step is bounded by the step's part, undivided, as it has to pass every condition. All tests hold at
every look.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from msgspec import Struct

from winnow import statistics
from winnow.finding import Finding, Result
from winnow.rollout import ab
from winnow.rollout.conditions import Measured
from winnow.rollout.plan import Condition, Step
from winnow.rollout.sizes import errors_to_pass, judged_by_counts, share_to_pass
from winnow.routing import LATENCY_BOUNDS_S, Comparisons, Counts, Rollout, RouterReport, quantile_s


class Verdict(Struct, frozen=True):
    """The verdict of one step.

    Attributes:
        step: its index.
        findings: one per condition.
        result: fails where one condition fails, passes where all pass.
        reason: one sentence for people.
        counted: what it rests on, of the whole step.
        is_void: it fails for what the step's data are worth, not for what the candidate is: the rollout pauses.
    """

    step: int
    findings: tuple[Finding, ...]
    result: Result
    reason: str
    counted: RouterReport | None = None
    is_void: bool = False


def judge(
    index: int,
    step: Step,
    report: RouterReport,
    measured: Mapping[int, Measured],
    bounds_s: Sequence[float] = LATENCY_BOUNDS_S,
) -> Verdict:
    """The verdict of a step from all that its routers have counted. Pure.

    Args:
        index: of the step.
        report: the `total` of the step's reports.
        measured: by a condition's index, as `conditions.measure_all` gives it.
        bounds_s: of the classes of `Counts.latency`, in seconds; by default those of routers.
    """
    fail_alpha = step.alpha / max(len(judged_by_counts(step)), 1)
    findings = tuple(
        _finding(each, step, report, measured.get(i, Measured(None, "nothing was measured")), fail_alpha, bounds_s)
        for i, each in enumerate(step.conditions)
    )
    failed = [each for each in findings if each.result is Result.FAIL]
    if failed:
        is_void = all(each.condition == ab.MISMATCH for each in failed)
        return Verdict(index, findings, Result.FAIL, failed[0].reason, report, is_void)
    lacking = [f"{each.condition}: {each.reason}" for each in findings if each.result is Result.NOT_ENOUGH_DATA]
    compared = report.comparisons.compared
    if compared < step.min_comparisons:
        lacking.append(f"{compared} of {step.min_comparisons} comparisons are made")
    if lacking:
        return Verdict(index, findings, Result.NOT_ENOUGH_DATA, "; ".join(lacking), report)
    won = [each.reason for each, of in zip(findings, step.conditions, strict=True) if of.type == "outcomes"]
    return Verdict(index, findings, Result.PASS, won[0] if won else "all conditions pass", report)


def _finding(
    condition: Condition,
    step: Step,
    report: RouterReport,
    measured: Measured,
    fail_alpha: float,
    bounds_s: Sequence[float],
) -> Finding:
    candidate = report.mirrored if step.mirror else report.candidate
    if condition.type == "errors":
        return errors(candidate, report.stable, condition.margin, step.alpha, fail_alpha)
    if condition.type == "latency":
        return latency(candidate, report.stable, condition, step.alpha, fail_alpha, bounds_s)
    if condition.type == "agreement":
        return agreement(report, condition.max_flips, step.alpha, fail_alpha)
    if condition.type == "outcomes":
        return outcomes(condition, measured, step)
    return value(condition, measured)


def errors(candidate: Counts, stable: Counts, margin: float, alpha: float, fail_alpha: float) -> Finding:
    """Whether the candidate errs more often: `statistics.log_more_errors` against 1/`fail_alpha`.

    It passes once the upper bound of `statistics.difference_interval` at `alpha` is at most `margin`. A candidate that
    is worse, but shown to be within the margin, passes.
    """
    counts = (candidate.errors, candidate.requests, stable.errors, stable.requests)
    log_e = float(statistics.log_more_errors(*counts))
    low, high = (float(each) for each in statistics.difference_interval(*counts, alpha))
    rate, other = _share(candidate.errors, candidate.requests), _share(stable.errors, stable.requests)
    said = (
        f"{rate:.2%} of {candidate.requests} requests failed, {other:.2%} of {stable.requests} on the stable revision"
    )
    result = _result(passed=high <= margin, failed=log_e >= -math.log(fail_alpha))
    if result is Result.NOT_ENOUGH_DATA:
        weight = _share(candidate.requests, candidate.requests + stable.requests) or 0.5
        needed = errors_to_pass(float(f"{min(weight, 0.99):.1g}"), float(f"{other:.1g}"), margin, alpha)
        said = _so_far(candidate.requests, "requests", needed)
    return Finding(
        "errors", rate - other, (low, high), candidate.requests, margin, "truncated-Beta mixture", result, said
    )


def latency(
    candidate: Counts,
    stable: Counts,
    condition: Condition,
    alpha: float,
    fail_alpha: float,
    bounds_s: Sequence[float] = LATENCY_BOUNDS_S,
) -> Finding:
    """Whether a quantile of the candidate's latencies exceeds the stable revision's by more than the margin.

    Both quantiles are bounded by `statistics.quantile_bounds` at half of α each, so that the stable one's estimate
    has its part of the error. It fails if the candidate's lower bound exceeds (1 + margin) times the stable upper
    bound, and passes if its upper bound is within (1 + margin) times the stable lower bound. Both limits are rounded up
    to the histogram's next bound, which favours the candidate and is the only approximation: with routers' bounds by up
    to 10 %.
    """
    n, others, margin, quantile = sum(candidate.latency), sum(stable.latency), condition.margin, condition.quantile
    rule, said = f"{quantile:g} quantile, truncated-Beta mixture", f"{n} answers"
    if not n or not others:
        lacking = _so_far(n, "answers", None)
        return Finding("latency", None, (None, None), n, margin, rule, Result.NOT_ENOUGH_DATA, lacking)
    of = (quantile, bounds_s)
    low, high = _bounds(candidate, *of, fail_alpha / 2)[0], _bounds(candidate, *of, alpha / 2)[1]
    other_high, other_low = _bounds(stable, *of, fail_alpha / 2)[1], _bounds(stable, *of, alpha / 2)[0]
    mine, other = quantile_s(candidate.latency, *of) or 0.0, quantile_s(stable.latency, *of) or 0.0
    said = f"{quantile:g} of the answers took up to {mine * 1e3:.3g} ms, {other * 1e3:.3g} ms on the stable revision"
    most, least = (_at_least(each, margin, bounds_s) for each in (other_low, other_high))
    result = _result(passed=high <= most, failed=low >= least)
    if result is Result.NOT_ENOUGH_DATA:
        said = _so_far(n, "answers", None)
    interval = (_ratio(low, other_high), _ratio(high, other_low))
    return Finding("latency", mine / other - 1, interval, n, margin, rule, result, said)


def agreement(report: RouterReport, most: float, alpha: float, fail_alpha: float) -> Finding:
    """Whether more mirrored answers differ than may: other predictions, and errors of the candidate."""
    found = report.comparisons
    n, differing = found.compared + found.errors, found.compared - found.agreed + found.errors
    low, high = (float(each) for each in statistics.share_interval(differing, n, alpha))
    passed = float(statistics.log_below(differing, n, most)) >= -math.log(alpha)
    failed = float(statistics.log_above(differing, n, most)) >= -math.log(fail_alpha)
    result, share = _result(passed=passed, failed=failed), _share(differing, n)
    said = f"{share:.2%} of {n} compared predictions differ, {most:.2%} may"
    if result is Result.NOT_ENOUGH_DATA:
        said = _so_far(n, "comparisons", share_to_pass(share, most, alpha))
    return Finding("agreement", share if n else None, (low, high), n, most, "truncated-Beta mixture", result, said)


def outcomes(condition: Condition, measured: Measured, step: Step) -> Finding:
    """Which revision has the better outcomes: `ab.judge`."""
    if measured.outcomes is not None:
        return ab.judge(condition, measured.outcomes, step.weight, step.alpha)
    lacking, metric = Result.NOT_ENOUGH_DATA, condition.metric
    return Finding(metric, None, (None, None), 0, condition.margin, ab.RULE, lacking, measured.reason)


def value(condition: Condition, measured: Measured) -> Finding:
    """Whether a measured value is within its limits. It is compared as it is, without a test."""
    limits, found = (condition.min, condition.max), measured.value
    what = condition.query or condition.url
    if found is None:
        return Finding(
            condition.type,
            None,
            limits,
            0,
            0.0,
            "limits",
            Result.NOT_ENOUGH_DATA,
            measured.reason,
        )
    is_inside = (limits[0] is None or found >= limits[0]) and (limits[1] is None or found <= limits[1])
    said = f"{what} is {found:g}, within its limits" if is_inside else f"{what} is {found:g}, expected {_range(limits)}"
    return Finding(
        condition.type, found, limits, 1, 0.0, "limits", _result(passed=is_inside, failed=not is_inside), said
    )


def _result(*, passed: bool, failed: bool) -> Result:
    return Result.PASS if passed else Result.FAIL if failed else Result.NOT_ENOUGH_DATA


def _so_far(n: int, what: str, needed: int | None) -> str:
    """What a verdict rests on so far, and what it would take to pass."""
    if needed is None or needed <= n:
        return f"{n} {what} of the candidate, too few for a verdict"
    return f"{n} {what} of the candidate, where a pass takes about {needed}"


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _bounds(counts: Counts, quantile: float, bounds_s: Sequence[float], alpha: float) -> tuple[float, float]:
    """A confidence sequence for a quantile, in seconds: 0 and infinity where nothing is shown."""
    last_below, first_above = map(int, statistics.quantile_bounds(counts.latency, quantile, alpha))
    low = bounds_s[last_below] if last_below >= 0 else 0.0
    return low, bounds_s[first_above] if first_above < len(bounds_s) else math.inf


def _at_least(seconds: float, margin: float, bounds_s: Sequence[float]) -> float:
    """The histogram's first bound that is at least (1 + margin) times as long; 0 for 0."""
    if seconds <= 0:
        return 0.0
    index = bisect.bisect_left(bounds_s, (1 + margin) * seconds * (1 - 1e-9))
    return bounds_s[index] if index < len(bounds_s) else math.inf


def _ratio(seconds: float, other: float) -> float | None:
    return seconds / other - 1 if other > 0 and math.isfinite(seconds) and math.isfinite(other) else None


def _range(limits: tuple[float | None, float | None]) -> str:
    low, high = limits
    parts = [f"at least {low:g}"] if low is not None else []
    return " and ".join([*parts, *([f"at most {high:g}"] if high is not None else [])]) or "a number"


def total(reports: Iterable[RouterReport]) -> RouterReport:
    """The sum of reports; its identifier and serial mean nothing."""
    each = tuple(reports)
    return RouterReport(
        router="",
        serial=0,
        stable=_counts(report.stable for report in each),
        candidate=_counts(report.candidate for report in each),
        mirrored=_counts(report.mirrored for report in each),
        comparisons=_comparisons(report.comparisons for report in each),
        misses=sum(report.misses for report in each),
        is_expired=any(report.is_expired for report in each),
        is_open=any(report.is_open for report in each),
    )


def counted(rollout: Rollout, reports: Iterable[RouterReport]) -> RouterReport:
    """What the current step of a rollout has counted: before it was paused, and since by its routers' reports."""
    return total(reports if rollout.counted is None else (rollout.counted, *reports))


def _counts(counts: Iterable[Counts]) -> Counts:
    each = tuple(counts)
    return Counts(
        requests=sum(one.requests for one in each),
        errors=sum(one.errors for one in each),
        latency=tuple(sum(bins) for bins in zip_longest(*(one.latency for one in each), fillvalue=0)),
        latency_sum_s=sum(one.latency_sum_s for one in each),
    )


def _comparisons(comparisons: Iterable[Comparisons]) -> Comparisons:
    each = tuple(comparisons)
    summed = ("compared", "agreed", "flips", "errors", "dropped", "distance_sum", "distance_square_sum")
    return Comparisons(
        **{name: sum(getattr(one, name) for one in each) for name in summed},
        largest_distance=max((one.largest_distance for one in each), default=0.0),
    )

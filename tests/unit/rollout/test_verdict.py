"""Verdicts on a step: what passes, what fails, and what is not enough."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.config.serving import ConditionConfig, RolloutConfig
from winnow.finding import Result
from winnow.rollout.conditions import Measured
from winnow.rollout.plan import Step, steps_of
from winnow.rollout.verdict import judge
from winnow.routing import LATENCY_BOUNDS_S, Comparisons, Counts, RouterReport

FAST_S, SPREAD = 0.005, 0.3


def _counts(rng: np.random.Generator, requests: int, rate: float, slowness: float = 1.0) -> Counts:
    values = slowness * FAST_S * np.exp(SPREAD * rng.standard_normal(requests))
    bins = np.bincount(np.searchsorted(LATENCY_BOUNDS_S, values), minlength=len(LATENCY_BOUNDS_S) + 1)
    return Counts(requests, int(rng.binomial(requests, rate)), tuple(map(int, bins)), float(values.sum()))


def _plus(one: Counts, other: Counts) -> Counts:
    latency = tuple(map(sum, zip(one.latency or (0,) * len(other.latency), other.latency, strict=True)))
    return Counts(
        one.requests + other.requests, one.errors + other.errors, latency, one.latency_sum_s + other.latency_sum_s
    )


def _results(
    step: Step, rng: np.random.Generator, *, rates: tuple[float, float], slowness: float = 1.0, looks: int = 12
) -> list[Result]:
    """The verdicts of one rollout's step, looked at after every 300 requests, until there is one."""
    stable, candidate, found = Counts(), Counts(), []
    for _ in range(looks):
        mine = round(300 * step.weight)
        candidate = _plus(candidate, _counts(rng, mine, rates[0], slowness))
        stable = _plus(stable, _counts(rng, 300 - mine, rates[1]))
        report = RouterReport("r", 1, stable=stable, candidate=candidate)
        found.append(judge(0, step, report, {}).result)
        if found[-1] is not Result.NOT_ENOUGH_DATA:
            break
    return found


def _canary_step(weight: float = 0.5) -> Step:
    return next(each for each in steps_of(RolloutConfig(strategy="canary")) if each.weight == weight)


def test_equal_revisions_hardly_ever_fail_a_step() -> None:
    rng, step = np.random.default_rng(1), _canary_step(0.25)
    ends = [_results(step, rng, rates=(0.01, 0.01), looks=6)[-1] for _ in range(100)]
    assert ends.count(Result.FAIL) <= 5


def test_an_equal_candidate_passes_with_enough_requests() -> None:
    rng, step = np.random.default_rng(2), _canary_step()
    assert [_results(step, rng, rates=(0.0, 0.0), looks=60)[-1] for _ in range(5)] == [Result.PASS] * 5


def test_a_candidate_that_errs_more_often_fails_and_never_passes() -> None:
    rng, step = np.random.default_rng(3), _canary_step()
    assert {_results(step, rng, rates=(0.05, 0.01), looks=40)[-1] for _ in range(20)} == {Result.FAIL}


def test_a_candidate_that_is_five_times_slower_fails_within_a_step() -> None:
    rng, step = np.random.default_rng(4), _canary_step()
    assert {_results(step, rng, rates=(0.0, 0.0), slowness=5.0, looks=40)[-1] for _ in range(10)} == {Result.FAIL}


def test_no_requests_are_not_enough_and_the_reason_says_how_many_are() -> None:
    step = Step(weight=0.01, conditions=_canary_step().conditions[:1], alpha=0.01)
    few = RouterReport("r", 1, stable=Counts(29_700), candidate=Counts(300))
    verdict = judge(0, step, few, {})
    assert verdict.result is Result.NOT_ENOUGH_DATA
    assert verdict.reason.startswith("errors: 300 requests of the candidate, where a pass takes about ")


def test_a_shadow_passes_with_agreeing_answers_and_fails_with_flips() -> None:
    (step,) = steps_of(RolloutConfig(strategy="shadow", conditions=(ConditionConfig(type="agreement"),), mirror=1.0))
    agreeing = RouterReport("r", 1, comparisons=Comparisons(compared=3000, agreed=2999, flips=1))
    flipping = RouterReport("r", 1, comparisons=Comparisons(compared=2000, agreed=1960, flips=40))
    few = RouterReport("r", 1, comparisons=Comparisons(compared=20, agreed=20))
    assert [judge(0, step, each, {}).result for each in (agreeing, flipping, few)] == [
        Result.PASS,
        Result.FAIL,
        Result.NOT_ENOUGH_DATA,
    ]


@pytest.mark.parametrize(
    ("measured", "result"),
    [
        (Measured(0.2), Result.PASS),
        (Measured(0.7), Result.FAIL),
        (Measured(None, "http://p does not answer"), Result.NOT_ENOUGH_DATA),
    ],
)
def test_a_measured_value_is_compared_with_its_limits(measured: Measured, result: Result) -> None:
    conditions = (ConditionConfig(type="prometheus", url="http://p", query="q", max=0.5),)
    step = steps_of(RolloutConfig(strategy="canary", conditions=conditions))[0]
    assert judge(0, step, RouterReport("r", 1), {0: measured}).result is result


def test_every_condition_has_to_pass() -> None:
    rng, step = np.random.default_rng(5), _canary_step()
    stable, candidate = _counts(rng, 4000, 0.0), _counts(rng, 4000, 0.0)
    slow = _counts(rng, 4000, 0.0, 5.0)
    passed = judge(0, step, RouterReport("r", 1, stable=stable, candidate=candidate), {})
    failed = judge(0, step, RouterReport("r", 1, stable=stable, candidate=slow), {})
    assert [each.result for each in passed.findings] == [Result.PASS, Result.PASS]
    assert ([each.result for each in failed.findings], failed.result) == ([Result.PASS, Result.FAIL], Result.FAIL)

"""The judge of a rollout's steps: what routers have counted, and what was measured outside."""

from __future__ import annotations

from typing import Any

from winnow.config.clock import Clock
from winnow.config.serving import ConditionConfig, RolloutConfig
from winnow.finding import Result
from winnow.orchestrators.judge import MEASURED_EVERY_S, StepJudge
from winnow.rollout.conditions import Measured
from winnow.rollout.plan import steps_of, to_values
from winnow.routing import Counts, Rollout, RouterReport

MINE = ConditionConfig(type="metric", url="http://127.0.0.1:1/value", max=1.0)
STEPS = to_values(steps_of(RolloutConfig(strategy="canary", initial_weight=0.5, conditions=(MINE,))))


class Meter:
    """Measures 0, 1, 2, …; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, _step: Any) -> dict[int, Measured]:
        self.asked += 1
        return {0: Measured(float(self.asked - 1))}


def test_what_is_measured_outside_is_asked_for_every_ten_seconds_and_for_every_step() -> None:
    now, meter = [100.0], Meter()
    judge = StepJudge(measure=meter, clock=Clock(now=lambda: now[0]))
    rollout = Rollout(2, 1, "canary", STEPS)
    results = []
    for seconds in (0.0, MEASURED_EVERY_S - 0.1, 0.1, 0.1, MEASURED_EVERY_S):
        now[0] += seconds
        results.append(judge(rollout, ()).result)
    assert (meter.asked, results) == (3, [Result.PASS] * 4 + [Result.FAIL])
    judge(Rollout(3, 1, "canary", STEPS), ())
    assert meter.asked == 4


def test_counts_from_before_a_pause_and_of_all_routers_add_up() -> None:
    before = RouterReport("", 0, candidate=Counts(100, 1), misses=1)
    reports = [RouterReport(name, 7, candidate=Counts(50, 2)) for name in ("a", "b")]
    verdict = StepJudge(measure=Meter())(Rollout(2, 1, "canary", STEPS, counted=before), reports)
    assert verdict.counted is not None
    assert (verdict.counted.candidate.requests, verdict.counted.candidate.errors, verdict.counted.misses) == (200, 5, 1)

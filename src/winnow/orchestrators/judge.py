"""Judge the current step of a rollout by what its routers have counted and by what is measured outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from winnow.config.clock import Clock
from winnow.rollout import verdict
from winnow.rollout.accumulate import counted
from winnow.rollout.conditions import Measured, measure_all
from winnow.rollout.plan import Step, from_values
from winnow.rollout.verdict import Verdict
from winnow.routing import Rollout, RouterReport

MEASURED_EVERY_S = 10.0
"""How often Prometheus and other addresses are asked: they answer for minutes, and a driver looks several times a
second."""

Measure = Callable[[Step], dict[int, Measured]]


class StepJudge:
    """Judges one step after another. What was measured outside is kept for a moment."""

    def __init__(self, measure: Measure = measure_all, clock: Clock | None = None) -> None:
        self._measure = measure
        self._clock = clock if clock is not None else Clock()
        self._measured: dict[int, Measured] = {}
        self._of: tuple[int, int] | None = None
        self._at = 0.0

    def __call__(self, rollout: Rollout, reports: Sequence[RouterReport]) -> Verdict:
        """The verdict on the current step."""
        step = from_values(rollout.steps)[rollout.step]
        now, of = self._clock.now(), (rollout.candidate, rollout.step)
        if of != self._of or now - self._at >= MEASURED_EVERY_S:
            self._measured, self._of, self._at = self._measure(step), of, now
        return verdict.judge(rollout.step, step, counted(rollout, reports), self._measured)

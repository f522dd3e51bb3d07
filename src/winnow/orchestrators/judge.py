"""Judge the current step of a rollout by what its routers have counted, what is measured outside, and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from winnow.config.clock import Clock
from winnow.orchestrators.outcome_reader import OutcomeReader
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
    """Judges one step after another. What was measured outside is kept for a moment.

    Args:
        outcomes: of the deployment; None where no step is judged by them.
    """

    def __init__(
        self, outcomes: OutcomeReader | None = None, measure: Measure = measure_all, clock: Clock | None = None
    ) -> None:
        self._outcomes = outcomes
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
        outcomes = {} if self._outcomes is None else self._latest(self._outcomes, step, rollout)
        return verdict.judge(rollout.step, step, counted(rollout, reports), {**self._measured, **outcomes})

    @staticmethod
    def _latest(outcomes: OutcomeReader, step: Step, rollout: Rollout) -> dict[int, Measured]:
        wanted = [(i, each) for i, each in enumerate(step.conditions) if each.type == "outcomes"]
        return {i: outcomes.latest(each, rollout) for i, each in wanted}

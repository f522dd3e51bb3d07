"""Judge the current step of a rollout by what its routers have counted, what is measured outside, and outcomes.

Outcomes are read while a driver goes on: a log may take minutes, and a router's lease is shorter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from winnow.config.clock import Clock
from winnow.config.errors import WinnowError
from winnow.rollout import verdict
from winnow.rollout.conditions import Measured, measure_all
from winnow.rollout.plan import Condition, Step, from_values
from winnow.rollout.verdict import Verdict, counted
from winnow.routing import OutcomeCounts, Rollout, RouterReport

READ_EVERY_S = 5.0
LEAST_PAUSE = 9.0
"""Pause between two reads, in durations of the last one: reading takes a tenth of the time at most."""

ReadOutcomes = Callable[[Sequence[str], str, int, str], Sequence[OutcomeCounts]]
"""Paths, metric, serial of the first route, deployment: `winnow.monitoring.outcomes.outcome_counts`."""


def read_log(paths: Sequence[str], metric: str, since_route: int, deployment: str) -> Sequence[OutcomeCounts]:
    """`outcome_counts`; DuckDB is imported only where outcomes are read."""
    from winnow.monitoring.outcomes import outcome_counts

    return outcome_counts(paths, metric, since_route, deployment)


def in_background(work: Callable[[], None]) -> None:
    """Do the work on a thread that does not keep the process from ending."""
    threading.Thread(target=work, name="outcomes", daemon=True).start()


class OutcomeReader:
    """The outcomes of one deployment's rollout, as they were read last.

    Args:
        deployment: its name in the log.
        start: starts a read, and returns before it has ended.
    """

    def __init__(
        self,
        deployment: str,
        read: ReadOutcomes = read_log,
        start: Callable[[Callable[[], None]], None] = in_background,
        clock: Clock | None = None,
    ) -> None:
        self._deployment, self._read, self._start = deployment, read, start
        self._clock = clock if clock is not None else Clock()
        self._of: tuple[int, int] | None = None
        self._found = Measured(None)
        self._next_at = 0.0
        self._is_reading = False

    def latest(self, condition: Condition, rollout: Rollout) -> Measured:
        """What was read last for the current step; starts another read where one is due."""
        of = (rollout.candidate, rollout.first_serial)
        if of != self._of:
            self._of, self._next_at = of, 0.0
            self._found = Measured(None, "the outcomes are being read for the first time")
        if not self._is_reading and self._clock.now() >= self._next_at:
            self._is_reading = True
            self._start(lambda: self._take(condition, rollout, of))
        return self._found

    def _take(self, condition: Condition, rollout: Rollout, of: tuple[int, int]) -> None:
        began = self._clock.now()
        try:
            found = self._counts(condition, rollout)
            if of == self._of:
                self._found = found
        finally:
            now = self._clock.now()
            self._next_at = now + max(READ_EVERY_S, LEAST_PAUSE * (now - began))
            self._is_reading = False

    def _counts(self, condition: Condition, rollout: Rollout) -> Measured:
        try:
            counts = self._read(condition.paths, condition.metric, rollout.first_serial, self._deployment)
        except WinnowError as error:
            return Measured(None, str(error))
        by_revision = {each.revision: each for each in counts}
        stable, candidate = (by_revision.get(n, OutcomeCounts(n)) for n in (rollout.stable, rollout.candidate))
        return Measured(None, outcomes=(stable, candidate))


MEASURED_EVERY_S = 10.0
"""How often Prometheus and other addresses are asked: they answer for minutes, and a driver looks several times a
second."""

Measure = Callable[[Step], dict[int, Measured]]


class StepJudge:
    """Judges one step after another. What was measured outside is kept for a moment.

    `outcomes`: of the deployment; None where no step is judged by them.
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

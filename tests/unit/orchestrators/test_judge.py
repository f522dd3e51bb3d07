"""What a step is judged by, and when outcomes are read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.serving import RolloutConfig
from winnow.finding import Result
from winnow.orchestrators.judge import StepJudge
from winnow.orchestrators.outcome_reader import OutcomeReader
from winnow.rollout.plan import steps_of, to_values
from winnow.routing import OutcomeCounts, Rollout

STEPS = steps_of(
    RolloutConfig(strategy="ab", metric="accuracy", min_effect=0.02, outcomes=("log.jsonl",), conditions=())
)
ROLLOUT = Rollout(2, 1, "ab", to_values(STEPS), first_serial=7)


class Log:
    """A log that takes `takes_s` to read, and a clock.

    Attributes:
        reads: when it was read, and as what.
    """

    def __init__(self, *counts: OutcomeCounts, takes_s: float = 0.0) -> None:
        self.counts = counts
        self.now, self.takes_s = 0.0, takes_s
        self.reads: list[tuple[float, Sequence[str], str, int, str]] = []
        self.started: list[Callable[[], None]] = []
        self.clock = Clock(now=lambda: self.now)

    def read(self, paths: Sequence[str], metric: str, since_route: int, deployment: str) -> Sequence[OutcomeCounts]:
        self.reads.append((self.now, paths, metric, since_route, deployment))
        self.now += self.takes_s
        if not self.counts:
            raise InputError("outcomes", expected="files", found="none at log.jsonl", remedy="Correct the path.")
        return self.counts

    def judge(self, start: Callable[[Callable[[], None]], None] = lambda work: work()) -> StepJudge:
        return StepJudge(OutcomeReader("cells", self.read, start, self.clock), clock=self.clock)


BETTER = (OutcomeCounts(1, 2000, 2000, 1700.0, 1700.0), OutcomeCounts(2, 2000, 2000, 1840.0, 1840.0))


def test_an_ab_test_is_judged_by_the_outcomes_since_its_first_route() -> None:
    log = Log(*BETTER)
    judge = log.judge()
    judge(ROLLOUT, ())  # starts to read
    assert judge(ROLLOUT, ()).result is Result.PASS
    assert log.reads == [(0.0, ("log.jsonl",), "accuracy", 7, "cells")]


def test_outcomes_are_read_every_five_seconds_and_for_a_tenth_of_the_time_at_most() -> None:
    quick, slow = Log(*BETTER), Log(*BETTER, takes_s=10.0)
    for log in (quick, slow):
        judge = log.judge()
        while log.now < 250:
            judge(ROLLOUT, ())
            log.now += 1
    assert [each[0] for each in quick.reads[:3]] == [0.0, 5.0, 10.0]
    assert [each[0] for each in slow.reads] == [0.0, 100.0, 200.0]


def test_a_driver_goes_on_while_outcomes_are_being_read() -> None:
    log = Log(*BETTER)
    judge = log.judge(log.started.append)
    first = judge(ROLLOUT, ())
    log.now = 60.0
    assert judge(ROLLOUT, ()) == first
    assert first.reason == "accuracy: the outcomes are being read for the first time"
    (work,) = log.started
    work()
    assert judge(ROLLOUT, ()).result is Result.PASS


def test_a_log_that_cannot_be_read_is_not_enough_data() -> None:
    judge = Log().judge()
    judge(ROLLOUT, ())
    verdict = judge(ROLLOUT, ())
    assert verdict.result is Result.NOT_ENOUGH_DATA
    assert verdict.reason == "accuracy: outcomes: expected files, found none at log.jsonl. Correct the path."


def test_a_test_that_is_begun_anew_forgets_what_was_read() -> None:
    log = Log(*BETTER)
    judge = log.judge()
    judge(ROLLOUT, ())
    anew = Rollout(2, 1, "ab", to_values(STEPS), first_serial=9)
    judge(anew, ())
    assert [each[3] for each in log.reads] == [7, 9]

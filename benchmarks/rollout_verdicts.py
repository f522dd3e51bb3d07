"""How rollouts of simulated candidates end: false alarms, power, and how many requests a verdict takes.

Each rollout is a canary with the default steps and conditions, judged by `winnow.rollout.verdict.judge` after every 100
requests of the candidate, as a driver would at 100 requests per second. Requests are independent: errors with a fixed
rate, answer times log-normal. Seeds are fixed, so that the figures are the same in every run.

    python benchmarks/rollout_verdicts.py [rollouts] [requests per second]
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np

from winnow.config.serving import RolloutConfig
from winnow.finding import Result
from winnow.rollout.plan import steps_of
from winnow.rollout.verdict import judge
from winnow.routing import LATENCY_BOUNDS_S, Counts, RouterReport

LOOK_EVERY = 100
"""Requests of the candidate between two looks."""
MEDIAN_S, SPREAD = 0.005, 0.5
BOUNDS = np.asarray(LATENCY_BOUNDS_S)


@dataclass(frozen=True)
class Candidate:
    """A candidate beside a stable revision that errs at `stable_errors`. `slower`: factor of its answer times."""

    name: str
    errors: float
    stable_errors: float
    slower: float = 1.0


@dataclass(frozen=True)
class End:
    """How a rollout ended: promoted, aborted or paused, in which step, after how many requests of the candidate."""

    kind: str
    step: int
    requests: int


CANDIDATES = (
    Candidate("equal, 0.1 % errors", 0.001, 0.001),
    Candidate("equal, 1 % errors", 0.01, 0.01),
    Candidate("3 % errors against 1 %", 0.03, 0.01),
    Candidate("2 % errors against 0.1 %", 0.02, 0.001),
    Candidate("twice as slow", 0.001, 0.001, slower=2.0),
    Candidate("five times as slow", 0.001, 0.001, slower=5.0),
)


def rollout(candidate: Candidate, rate_per_s: float, random: np.random.Generator, config: RolloutConfig) -> End:
    """Simulate one rollout to its end."""
    seen = 0
    for index, step in enumerate(steps_of(config)):
        mine, other = Tally(), Tally()
        while True:
            mine.add(LOOK_EVERY, candidate.errors, candidate.slower, random)
            other.add(round(LOOK_EVERY * (1 - step.weight) / step.weight), candidate.stable_errors, 1.0, random)
            seen += LOOK_EVERY
            elapsed_s = mine.requests / (rate_per_s * step.weight)
            verdict = judge(index, step, RouterReport("", 0, stable=other.counts(), candidate=mine.counts()), {})
            if verdict.result is Result.FAIL:
                return End("aborted", index + 1, seen)
            if verdict.result is Result.PASS and elapsed_s >= step.least_s:
                break
            if step.most_s is not None and elapsed_s >= step.most_s:
                return End("paused", index + 1, seen)
    return End("promoted", len(steps_of(config)), seen)


class Tally:
    """What a router counts of one revision."""

    def __init__(self) -> None:
        self.requests = self.errors = 0
        self._latency = np.zeros(len(BOUNDS) + 1, dtype=np.int64)

    def add(self, requests: int, error_rate: float, slower: float, random: np.random.Generator) -> None:
        """Answer more requests."""
        self.requests += requests
        self.errors += int(random.binomial(requests, error_rate))
        times = MEDIAN_S * slower * np.exp(SPREAD * random.standard_normal(requests))
        self._latency += np.bincount(np.searchsorted(BOUNDS, times), minlength=len(self._latency))

    def counts(self) -> Counts:
        """As a router reports them."""
        return Counts(self.requests, self.errors, tuple(self._latency.tolist()), 0.0)


def row(candidate: Candidate, rollouts: int, rate_per_s: float) -> str:
    """A line of the table."""
    random, config = np.random.default_rng(0), RolloutConfig(strategy="canary")
    ends = [rollout(candidate, rate_per_s, random, config) for _ in range(rollouts)]
    kinds = Counter(each.kind for each in ends)
    first = Counter(each.step for each in ends if each.kind == "aborted")
    until = [each.requests for each in ends if each.kind == "aborted"]
    shares = " | ".join(f"{kinds[kind] / rollouts:.1%}" for kind in ("promoted", "aborted", "paused"))
    median = f"{np.median(until):.0f}" if until else "-"
    return f"| {candidate.name} | {shares} | {first[1] / rollouts:.1%} | {median} |"


def main(rollouts: int = 500, rate_per_s: float = 100.0) -> None:
    """Print the table."""
    print(f"{rollouts} rollouts each, at {rate_per_s:g} requests per second\n")
    print(
        "| candidate | promoted | aborted | paused | aborted in step 1 | requests of the candidate until then, median |"
    )
    print("|---|---|---|---|---|---|")
    for candidate in CANDIDATES:
        print(row(candidate, rollouts, rate_per_s), flush=True)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:], strict=False)))

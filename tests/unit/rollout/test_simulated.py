"""Whole rollouts of simulated candidates; benchmarks/rollout_verdicts.py has many more of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from benchmarks.rollout_verdicts import CANDIDATES, rollout

from winnow.config.serving import RolloutConfig

QUICK = RolloutConfig(strategy="canary", initial_weight=0.05, step_duration_seconds=30, max_step_duration_seconds=600)


def ends(name: str, count: int) -> Counter[str]:
    candidate = next(each for each in CANDIDATES if each.name == name)
    random = np.random.default_rng(1)
    return Counter(rollout(candidate, 100.0, random, QUICK).kind for _ in range(count))


def test_an_equal_candidate_is_promoted() -> None:
    found = ends("equal, 0.1 % errors", 15)
    assert found["promoted"] >= 14
    assert found["aborted"] <= 1


def test_a_candidate_that_errs_more_or_is_slower_is_aborted() -> None:
    assert ends("3 % errors against 1 %", 10) == {"aborted": 10}
    assert ends("twice as slow", 10) == {"aborted": 10}

"""Verdicts on steps that another program moves, from what servers really publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError
from winnow.finding import Result
from winnow.orchestrators.rollout_verdict import RevisionHashes, await_verdict, step_of
from winnow.rollout.verdict import Verdict
from winnow.serving.metrics import Metrics
from winnow.serving.signature import Signature

STEP = (
    '{"least_s": 60, "most_s": 600, "alpha": 0.05, "conditions": [{"type": "errors", "margin": 0.01}, '
    '{"type": "latency", "margin": 0.5, "quantile": 0.95}]}'
)
STABLE, CANDIDATE = "5f6d8", "7c9b4"


def server(version: str) -> Metrics:
    return Metrics(Signature("wine", version, version * 64, (1,), None, ("a", "b"), ("wine",)))


@dataclass
class Site:
    """Two revisions that answer requests while the clock runs.

    Attributes:
        errors: share of the candidate's requests that fail.
        median_s: of the candidate's answer times; the stable revision's is 4 ms.
        away_until: until when Prometheus does not answer.
    """

    errors: float = 0.001
    median_s: float = 0.004
    rate: int = 100
    away_until: float = -1.0
    at: float = 0.0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.pods = {f"wine-{STABLE}-{i}@10.0.0.{i}:8080": server("1") for i in (1, 2)}
        self.pods[f"wine-{CANDIDATE}-9@10.0.0.9:8080"] = server("2")
        for name in self.pods:  # before the step, both failed often
            self._answer(name, 50, 0.5, 0.9)

    def _answer(self, name: str, requests: int, errors: float, median_s: float) -> None:
        seconds = median_s * np.exp(0.2 * self.random.standard_normal(requests))
        failed = self.random.random(requests) < errors
        for each, is_failed in zip(seconds, failed, strict=True):
            self.pods[name].answered("/predict", 500 if is_failed else 200, float(each), 1)

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        for name in self.pods:
            is_candidate = CANDIDATE in name
            errors, median_s = (self.errors, self.median_s) if is_candidate else (0.001, 0.004)
            self._answer(name, int(self.rate * seconds), errors, median_s)

    def texts(self, at: float, lookback_s: float) -> Mapping[str, str]:
        assert lookback_s >= at + 300
        if at < self.away_until:
            raise UnreachableError("it does not answer")
        return {name: each.exposition().decode() for name, each in self.pods.items()}

    def verdict(self) -> Verdict:
        return await_verdict(
            step_of(STEP),
            RevisionHashes(STABLE, CANDIDATE),
            self.texts,
            wall=lambda: self.at,
            clock=Clock(lambda: self.at, self.sleep),
            say=self.said.append,
        )


def test_an_equal_candidate_passes_after_the_least_time_by_what_was_counted_since_the_step_began() -> None:
    site = Site()
    found = site.verdict()
    assert (found.result, site.at) == (Result.PASS, 60.0)
    assert found.counted is not None
    assert (found.counted.candidate.requests, found.counted.stable.requests) == (6000, 12000)
    assert found.counted.candidate.errors < 20


@pytest.mark.parametrize("site", [Site(errors=0.2), Site(median_s=0.04)], ids=["errors", "answer times"])
def test_a_worse_candidate_fails_at_once(site: Site) -> None:
    found = site.verdict()
    assert (found.result, site.at) == (Result.FAIL, 10.0)


def test_a_little_slower_in_the_same_class_of_answer_times_is_no_failure() -> None:
    assert Site(median_s=0.0046).verdict().result is Result.PASS


def test_without_requests_the_time_ends_without_a_verdict() -> None:
    site = Site(rate=0)
    assert (site.verdict().result, site.at) == (Result.NOT_ENOUGH_DATA, 600.0)
    assert "0 requests of the candidate" in site.said[-1]


def test_a_prometheus_that_is_away_is_waited_for() -> None:
    site = Site(away_until=40.0)
    assert (site.verdict().result, site.said[0]) == (Result.PASS, "it does not answer")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"alpha": 2, "conditions": [{"type": "errors"}]}', '{"conditions": [{"type": "agreement"}]}'],
)
def test_what_is_no_step_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"(?i)step"):
        step_of(text)

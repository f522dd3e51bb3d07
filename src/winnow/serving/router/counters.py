"""What a router counts, as `RouterReport` and in Prometheus' text format."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

from winnow.routing import LATENCY_BOUNDS_S, Counts, Route, RouterReport

EVERY = 12
"""Prometheus gets each twelfth bound of the histogram: about three per decade."""


class Counter:
    """Counts the answers of one revision."""

    __slots__ = ("_errors", "_latency", "_latency_sum_s", "_requests")

    def __init__(self) -> None:
        self._requests = self._errors = 0
        self._latency = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._latency_sum_s = 0.0

    def add(self, seconds: float | None, *, is_error: bool) -> None:
        """Count a request. `seconds`: how long its answer took; None where the revision gave none."""
        self._requests += 1
        self._errors += is_error
        if seconds is not None:
            self._latency[bisect.bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
            self._latency_sum_s += seconds

    @property
    def counts(self) -> Counts:
        """All so far."""
        return Counts(self._requests, self._errors, tuple(self._latency), self._latency_sum_s)


def exposition(report: RouterReport, route: Route) -> bytes:
    """A report in Prometheus' text format, by the revisions of the route."""
    found = report.comparisons
    lines: list[str] = []
    for name, kind, value in (
        ("misses_total", "counter", report.misses),
        ("compared_total", "counter", found.compared),
        ("agreed_total", "counter", found.agreed),
        ("flips_total", "counter", found.flips),
        ("mirror_errors_total", "counter", found.errors),
        ("mirror_dropped_total", "counter", found.dropped),
        ("distance_sum", "gauge", found.distance_sum),
        ("expired", "gauge", int(report.is_expired)),
        ("breaker_open", "gauge", int(report.is_open)),
    ):
        lines += _series(name, kind, [("", value)])
    roles = [("stable", route.stable, report.stable)]
    if route.candidate is not None:
        roles += [("candidate", route.candidate, report.candidate), ("mirrored", route.candidate, report.mirrored)]
    labelled = [(f'role="{role}",revision="{number}"', counts) for role, number, counts in roles]
    lines += _series("requests_total", "counter", [(f"{{{labels}}}", counts.requests) for labels, counts in labelled])
    lines += _series("errors_total", "counter", [(f"{{{labels}}}", counts.errors) for labels, counts in labelled])
    buckets = [each for labels, counts in labelled for each in _histogram(labels, counts)]
    lines += _series("answer_seconds", "histogram", buckets)
    return "\n".join((*lines, "")).encode()


def _series(name: str, kind: str, values: Iterable[tuple[str, float]]) -> list[str]:
    whole = f"winnow_router_{name}"
    return [f"# TYPE {whole} {kind}", *(f"{whole}{rest} {value}" for rest, value in values)]


def _histogram(labels: str, counts: Counts) -> Iterator[tuple[str, float]]:
    latency = counts.latency
    for index in range(EVERY - 1, len(LATENCY_BOUNDS_S), EVERY):
        yield f'_bucket{{{labels},le="{LATENCY_BOUNDS_S[index]:.6g}"}}', sum(latency[: index + 1])
    yield f'_bucket{{{labels},le="+Inf"}}', sum(latency)
    yield f"_sum{{{labels}}}", counts.latency_sum_s
    yield f"_count{{{labels}}}", sum(latency)

"""What all routers of one step have counted together, also those that are gone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from winnow.routing import Comparisons, Counts, Rollout, RouterReport


def total(reports: Iterable[RouterReport]) -> RouterReport:
    """The sum of reports; its identifier and serial mean nothing."""
    each = tuple(reports)
    return RouterReport(
        router="",
        serial=0,
        stable=_counts(report.stable for report in each),
        candidate=_counts(report.candidate for report in each),
        mirrored=_counts(report.mirrored for report in each),
        comparisons=_comparisons(report.comparisons for report in each),
        misses=sum(report.misses for report in each),
        is_expired=any(report.is_expired for report in each),
        is_open=any(report.is_open for report in each),
    )


def counted(rollout: Rollout, reports: Iterable[RouterReport]) -> RouterReport:
    """What the current step of a rollout has counted: before it was paused, and since by its routers' reports."""
    return total(reports if rollout.counted is None else (rollout.counted, *reports))


def _counts(counts: Iterable[Counts]) -> Counts:
    each = tuple(counts)
    return Counts(
        requests=sum(one.requests for one in each),
        errors=sum(one.errors for one in each),
        latency=tuple(sum(bins) for bins in zip_longest(*(one.latency for one in each), fillvalue=0)),
        latency_sum_s=sum(one.latency_sum_s for one in each),
    )


def _comparisons(comparisons: Iterable[Comparisons]) -> Comparisons:
    each = tuple(comparisons)
    return Comparisons(
        compared=sum(one.compared for one in each),
        agreed=sum(one.agreed for one in each),
        flips=sum(one.flips for one in each),
        errors=sum(one.errors for one in each),
        dropped=sum(one.dropped for one in each),
        distance_sum=sum(one.distance_sum for one in each),
        distance_square_sum=sum(one.distance_square_sum for one in each),
        largest_distance=max((one.largest_distance for one in each), default=0.0),
    )

"""What all routers of a step have counted together."""

from __future__ import annotations

from winnow.rollout.verdict import counted, total
from winnow.routing import Comparisons, Counts, Rollout, RouterReport


def test_reports_add_up_and_histograms_of_other_lengths_too() -> None:
    one = RouterReport(
        "a", 3, stable=Counts(10, 1, (1, 2), 0.5), candidate=Counts(4, 0, (4,), 0.1), comparisons=Comparisons(3, 2, 1)
    )
    other = RouterReport("b", 3, stable=Counts(5, 0, (0, 1, 4), 0.25), misses=2, is_open=True)
    assert total([one, other]) == RouterReport(
        "",
        0,
        stable=Counts(15, 1, (1, 3, 4), 0.75),
        candidate=Counts(4, 0, (4,), 0.1),
        comparisons=Comparisons(3, 2, 1),
        misses=2,
        is_open=True,
    )


def test_distances_add_up_but_the_largest_one() -> None:
    reports = [
        RouterReport(str(largest), 1, comparisons=Comparisons(2, distance_sum=3.0, largest_distance=largest))
        for largest in (0.5, 2.5)
    ]
    found = total(reports).comparisons
    assert (found.compared, found.distance_sum, found.largest_distance) == (4, 6.0, 2.5)


def test_what_was_counted_before_a_pause_adds_to_what_was_counted_since() -> None:
    rollout = Rollout(2, 1, "canary", counted=RouterReport("", 0, candidate=Counts(100)))
    assert counted(rollout, [RouterReport("a", 1, candidate=Counts(7))]).candidate.requests == 107
    assert counted(Rollout(2, 1, "canary"), []) == RouterReport("", 0)

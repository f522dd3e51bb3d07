"""What a study's report states."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.report.sample_study import BEGAN_MS, SampleStudy
from winnow.report.facts import Sitting, facts_of, robust_range, sittings_of
from winnow.report.timescale import Timescale


def test_every_trial_is_counted_once() -> None:
    view = SampleStudy(pruned=frozenset({9}), failed=frozenset({5, 17}), running=frozenset({29})).view()
    facts = facts_of(view)
    assert facts.counts == {"complete": 26, "pruned": 1, "failed": 2, "running": 1, "waiting": 0}
    assert facts.asked == 30
    assert facts.workers == ("group-0", "group-1")
    assert facts.winner is not None
    assert facts.winner.record.number == view.winner


def test_workers_are_ordered_by_number() -> None:
    assert facts_of(SampleStudy(workers=11).view()).workers[-2:] == ("group-9", "group-10")


def test_a_pruned_trial_has_the_mean_of_its_folds() -> None:
    trial = facts_of(SampleStudy(pruned=frozenset({9})).view()).trials[9]
    assert (trial.mean, trial.std, len(trial.scores)) == (trial.scores[0], None, 1)


def test_a_pause_of_days_is_no_wall_time() -> None:
    view = SampleStudy(pause_before=15).view()
    first, second = sittings_of(view)
    assert first.start_ms == BEGAN_MS
    assert (second.start_ms - first.end_ms) // 86_400_000 == 2
    assert facts_of(view).wall_s < 60


def test_one_long_fold_is_no_pause() -> None:
    view = SampleStudy(trials=1, fold_s=4000.0).view()
    assert len(sittings_of(view)) == 1


def test_times_in_a_pause_lie_at_its_place() -> None:
    scale = Timescale.over((Sitting(0, 10_000), Sitting(100_000, 130_000)))
    assert [scale.at(ms) for ms in (-5, 0, 5_000, 10_000, 50_000, 100_000, 130_000, 900_000)] == [
        0.0,
        0.0,
        5.0,
        10.0,
        10.0,
        10.0,
        40.0,
        40.0,
    ]
    assert scale.pauses == ((10.0, 90.0),)
    assert (scale.unit, scale.length) == ("seconds", 40.0)


def test_the_unit_fits_the_length() -> None:
    units = [Timescale.over((Sitting(0, 1000 * seconds),)).unit for seconds in (0, 179, 180, 7199, 7200)]
    assert units == ["seconds", "seconds", "minutes", "minutes", "hours"]


def test_a_diverged_trial_does_not_stretch_the_range() -> None:
    values = [0.95, 0.96, 0.97, 0.98, -40.0]
    assert robust_range(values, maximize=True) == (0.95, 0.98)
    assert robust_range([-value for value in values], maximize=False) == (-0.98, -0.95)
    assert robust_range([], maximize=True) is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=30), st.booleans())
def test_the_range_always_holds_the_best_value(values: list[float], maximize: bool) -> None:
    found = robust_range(values, maximize=maximize)
    finite = [value for value in values if abs(value) < float("inf")]
    if not finite:
        assert found is None
        return
    assert found is not None
    low, high = found
    assert min(finite) <= low <= high <= max(finite)
    assert (high == max(finite)) if maximize else (low == min(finite))


def test_a_study_without_trials_has_no_pace() -> None:
    view = SampleStudy(trials=0).view()
    facts = facts_of(replace(view, generated_at_ms=BEGAN_MS + 60_000))
    assert (facts.trials_per_min, facts.wall_s, facts.winner, facts.trials) == (None, 0.0, None, ())


def test_a_study_that_was_made_larger_is_counted_against_its_present_size() -> None:
    view = SampleStudy(trials=8).view()
    smaller = {**view.sweep.experiment, "search": {**view.sweep.experiment["search"], "trials": 4}}
    assert facts_of(replace(view, sweep=replace(view.sweep, experiment=smaller))).asked == 8

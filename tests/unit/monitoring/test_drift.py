from dataclasses import dataclass

import numpy as np
import pytest
from msgspec import structs

from winnow.bundle.profile import CONFIDENCE, PREDICTION, QUANTILES, ColumnCounts, ColumnProfile, Profile
from winnow.finding import Result
from winnow.monitoring.drift import alpha_per_check, find_drift, gaps_between, mean_shift, needed_rows
from winnow.monitoring.live import LiveCounts

ROWS, LIVE, ALPHA = 500, 1000, 1 / 720


@dataclass
class Rows:
    """Rows of a number, a category, a boolean, a date, a class and its probability; NaN is missing, -1 unknown."""

    age: np.ndarray
    plan: np.ndarray
    active: np.ndarray
    joined: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray


def rows(count: int, seed: int) -> Rows:
    random = np.random.default_rng(seed)
    return Rows(
        age=random.gamma(4, 10, count),
        plan=random.choice(3, count, p=[0.6, 0.3, 0.1]).astype(float),
        active=(random.random(count) < 0.8).astype(float),
        joined=random.integers(18_000, 20_000, count).astype(float),
        prediction=(random.random(count) < 0.4).astype(float),
        confidence=random.beta(8, 2, count),
    )


TRAINED = rows(ROWS, 0)
HELD_OUT = rows(150, 1)


def number(values: np.ndarray, edges: np.ndarray, centre: float) -> ColumnCounts:
    present = values[~np.isnan(values)]
    bins = np.bincount(np.searchsorted(edges, present), minlength=len(edges) + 1)
    moved = present - centre
    return ColumnCounts(
        tuple(bins.tolist()), int(np.isnan(values).sum()), 0, float(moved.sum()), float((moved**2).sum())
    )


def codes(values: np.ndarray, many: int) -> ColumnCounts:
    present = values[~np.isnan(values)]
    bins = np.bincount(present[present >= 0].astype(int), minlength=many)
    return ColumnCounts(tuple(bins.tolist()), int(np.isnan(values).sum()), int((present < 0).sum()))


def number_profile(name: str, kind: str, values: np.ndarray) -> ColumnProfile:
    edges = np.quantile(values, np.linspace(0.1, 0.9, 9))
    centre = float(np.median(values))
    quantiles = tuple(np.quantile(values, QUANTILES).tolist())
    counts = number(values, edges, centre)
    return ColumnProfile(name, kind, counts, tuple(edges.tolist()), (), centre, float(np.std(values)), quantiles)


def profile(source: str = "holdout") -> Profile:
    columns = (
        number_profile("age", "number", TRAINED.age),
        ColumnProfile("plan", "category", codes(TRAINED.plan, 3), labels=("a", "b", "c")),
        ColumnProfile("active", "boolean", codes(TRAINED.active, 2), labels=("false", "true")),
        number_profile("joined", "date", TRAINED.joined),
    )
    outputs = (
        ColumnProfile(PREDICTION, "category", codes(HELD_OUT.prediction, 2), labels=("no", "yes")),
        number_profile(CONFIDENCE, "number", HELD_OUT.confidence),
    )
    return Profile(ROWS, columns, outputs, len(HELD_OUT.age), source)


def counted(live: Rows, since: float = 100.0) -> LiveCounts:
    known = profile()
    numbers = {each.name: each for each in (*known.columns, *known.outputs)}
    columns = {
        "age": number(live.age, np.array(numbers["age"].edges), numbers["age"].centre),
        "plan": codes(live.plan, 3),
        "active": codes(live.active, 2),
        "joined": number(live.joined, np.array(numbers["joined"].edges), numbers["joined"].centre),
    }
    outputs = {
        PREDICTION: codes(live.prediction, 2),
        CONFIDENCE: number(live.confidence, np.array(numbers[CONFIDENCE].edges), numbers[CONFIDENCE].centre),
    }
    return LiveCounts("m", "1", "d", since, since + 3600, len(live.age), columns, outputs)


def moved(found) -> dict[str, list[str]]:
    return {
        each.name: [one.condition for one in each.findings if one.result is Result.FAIL]
        for each in found
        if each.result is Result.FAIL
    }


def test_rows_as_in_training_have_not_moved():
    found = find_drift(profile(), counted(rows(LIVE, 2)), ALPHA)
    assert [(each.name, each.result) for each in found] == [
        (name, Result.PASS) for name in (PREDICTION, CONFIDENCE, "age", "plan", "active", "joined")
    ]
    assert [len(each.findings) for each in found] == [2, 3, 4, 4, 3, 1]


def test_half_a_standard_deviation_is_found_and_its_size_told():
    live = rows(LIVE, 2)
    live.age += 10.0
    found = find_drift(profile(), counted(live), ALPHA)
    assert list(moved(found)) == ["age"]
    distance = next(one for one in found[2].findings if one.condition == "wasserstein")
    assert distance.estimate == pytest.approx(0.5, abs=0.07)
    assert distance.n == LIVE and 0 < distance.margin < distance.estimate
    assert mean_shift(profile().columns[0], counted(live).columns["age"]) == pytest.approx(0.5, abs=0.07)
    assert "mean moved by +0.5" in distance.reason and "where chance alone gives up to" in distance.reason


def test_another_unit_a_new_category_nulls_and_moved_outputs_are_found():
    live = rows(LIVE, 2)
    live.age /= 12
    live.plan[:50] = -1
    live.active[:100] = np.nan
    live.prediction = (np.random.default_rng(3).random(LIVE) < 0.7).astype(float)
    found = moved(find_drift(profile(), counted(live), ALPHA))
    assert found == {
        PREDICTION: ["psi", "jensen_shannon"],
        "age": ["psi", "jensen_shannon", "wasserstein"],
        "plan": ["unknown"],
        "active": ["missing"],
    }


def test_dates_grow_and_only_their_missing_values_are_tested():
    live = rows(LIVE, 2)
    live.joined += 1000
    assert moved(find_drift(profile(), counted(live), ALPHA)) == {}
    live.joined[:100] = np.nan
    assert moved(find_drift(profile(), counted(live), ALPHA)) == {"joined": ["missing"]}


def test_values_that_are_no_longer_missing_are_found():
    known, live = profile(), counted(rows(LIVE, 2))
    before = known.columns[2].counts
    columns = (*known.columns[:2], ColumnProfile("active", "boolean", ColumnCounts(before.bins, 200)), known.columns[3])
    found = find_drift(Profile(ROWS, columns, known.outputs, 150, "holdout"), live, ALPHA)
    assert moved(found) == {"active": ["missing"]}


def test_below_the_needed_rows_nothing_is_judged():
    known = profile()
    needed = needed_rows(known, ALPHA)
    assert needed == 181
    live = rows(needed - 1, 2)
    live.age *= 100
    found = find_drift(known, counted(live), ALPHA)
    assert {each.result for each in found} == {Result.NOT_ENOUGH_DATA}
    assert found[0].findings[0].reason == "180 of 181 rows that it takes."


def test_rows_of_one_request_may_be_alike_and_are_one_observation():
    def seen(requests: Rows, count: int) -> LiveCounts:
        """Requests of 50 rows each that are alike, counted as `count` requests."""
        live = counted(Rows(**{name: np.repeat(values, 50) for name, values in vars(requests).items()}))
        return structs.replace(live, requests=count)

    months = [rows(200, 10 + seed) for seed in range(20)]
    assert any(moved(find_drift(profile(), seen(each, 10_000), 0.5)) for each in months)
    assert not any(moved(find_drift(profile(), seen(each, 200), 0.5)) for each in months)
    months[0].age += 15.0
    assert list(moved(find_drift(profile(), seen(months[0], 200), ALPHA))) == ["age"]
    assert needed_rows(profile(), ALPHA, seen(months[0], 200).rows_per_request) == 50 * needed_rows(profile(), ALPHA)


def test_more_columns_and_rarer_alarms_need_more_rows_and_a_small_reference_only_so_many():
    known = profile()
    assert needed_rows(known, ALPHA / 100) > needed_rows(known, ALPHA)
    assert needed_rows(Profile(90, known.columns, known.outputs, 20, "holdout"), ALPHA) == 360


def test_a_drift_that_goes_on_keeps_its_begin():
    live = rows(LIVE, 2)
    live.age += 10.0
    first = find_drift(profile(), counted(live, since=100.0), ALPHA)
    later = find_drift(profile(), counted(live, since=3700.0), ALPHA, earlier=first)
    over = find_drift(profile(), counted(rows(LIVE, 4), since=7300.0), ALPHA, earlier=later)
    again = find_drift(profile(), counted(live, since=10_900.0), ALPHA, earlier=over)
    assert [each[2].since for each in (first, later, over, again)] == [100.0, 100.0, None, 10_900.0]


def test_a_drift_that_ten_thousand_rows_would_not_show_is_none():
    live = rows(400_000, 2)
    live.age += 1.0
    assert moved(find_drift(profile(), counted(live), ALPHA)) == {}


def test_categories_that_training_rows_had_once_make_new_ones_likely():
    singles = ColumnProfile("city", "category", ColumnCounts((1,) * 100 + (400,)), labels=("x",) * 101)
    known = Profile(ROWS, (singles,), (), 0, "training")
    live = LiveCounts("m", "1", "d", 0, 1, LIVE, {"city": ColumnCounts((1,) * 100 + (700,), unknown=200)}, {})
    assert "unknown" not in moved(find_drift(known, live, ALPHA)).get("city", [])


def test_the_confidence_of_other_models_than_the_served_one_is_not_compared():
    live = rows(LIVE, 2)
    live.confidence **= 3
    assert moved(find_drift(profile("holdout"), counted(live), ALPHA)).keys() == {CONFIDENCE}
    found = find_drift(profile("folds"), counted(live), ALPHA)
    assert [each.name for each in found] == [PREDICTION, "age", "plan", "active", "joined"]


def test_bins_stand_at_their_middles_and_bins_of_single_values_at_the_value():
    quantiles = (0.0, *[3.0] * 7, 9.0)
    usual = ColumnProfile("x", "number", ColumnCounts(()), (1.0, 3.0, 5.0), scale=2.0, quantiles=quantiles)
    assert gaps_between(usual).tolist() == [0.75, 1.0, 1.5]  # 0.5, 2, 4 and 7
    before = float(np.nextafter(np.float32(1), np.float32(0)))
    few = ColumnProfile("x", "number", ColumnCounts(()), (before, 1.0, 2.0, 4.0), scale=2.0, quantiles=(1.0,) * 9)
    assert gaps_between(few) == pytest.approx([0, 0.5, 1, 0], abs=1e-6)


def test_a_column_with_a_single_bin_is_compared_by_its_missing_values_alone():
    rare = ColumnProfile("rare", "number", ColumnCounts((5,), 495))
    one = ColumnProfile("one", "category", ColumnCounts((500,)), labels=("a",))
    known = Profile(500, (rare, one), (one,), 500, "holdout")
    live = {"rare": ColumnCounts((300,), 200), "one": ColumnCounts((500,))}

    found = find_drift(known, LiveCounts("m", "1", "d", 0.0, 1.0, 500, live, {"one": live["one"]}), 1e-3)

    assert [(drift.name, [(each.condition, each.result) for each in drift.findings]) for drift in found] == [
        ("rare", [("missing", Result.FAIL)]),
        ("one", [("missing", Result.PASS), ("unknown", Result.PASS)]),
    ]


def test_counts_of_other_bins_are_refused():
    live = counted(rows(LIVE, 2))
    live.columns["plan"] = ColumnCounts((500, 500))
    with pytest.raises(ValueError, match="3 bins of 'plan', as in the profile, found 2"):
        find_drift(profile(), live, ALPHA)


def test_a_month_has_as_many_false_alarms_as_the_file_says():
    assert alpha_per_check(1.0, 3600) == pytest.approx(1 / 720)
    assert alpha_per_check(2.0, 86_400) == pytest.approx(2 / 30)
    assert alpha_per_check(100.0, 7 * 86_400) == 0.5

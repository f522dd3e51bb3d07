"""Live quality: what the log says by window and slice, and when it is an alarm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from winnow.bundle.profile import QUANTILES, ColumnCounts, ColumnProfile, Losses, Profile
from winnow.config.errors import InputError
from winnow.config.monitoring import QualityConfig
from winnow.finding import Result
from winnow.monitoring.quality import judge_quality, standard_of
from winnow.monitoring.report import LiveQuality
from winnow.statistics import log_excess, log_since

DAY = 86400.0
NOW = 20_000 * DAY
QUIET = Losses(400, 0.95, 0.0475)
AGE = ColumnProfile(
    "age", "number", ColumnCounts((200, 200)), (50.0,), quantiles=tuple(float(100 * q) for q in QUANTILES)
)


def profile(metric: str = "accuracy", losses: Losses | None = QUIET, source: str = "holdout") -> Profile:
    labels = ("no", "yes") if metric == "accuracy" else ()
    output = ColumnProfile("prediction", "category", ColumnCounts((200, 200)), labels=labels)
    known = {} if losses is None else {metric: losses}
    return Profile(400, (AGE,), (output,), 400, source, losses=known)


def log(path: Path, *lines: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return str(path)


def predicted(request: object, at: float, prediction: object = "yes", **further: Any) -> dict[str, Any]:
    line = {"event": "prediction", "time": at, "deployment": "cells", "revision": 1, "route": 3, "assigned": 1}
    named = {"kind": "assigned", "version": "4", "request_id": str(request), "row": 0, "prediction": prediction}
    return {**line, **named, **further}


def known(request: object, at: float, outcome: object = "yes") -> dict[str, Any]:
    return {"event": "outcome", "time": at, "request_id": str(request), "row": 0, "outcome": outcome}


def days(*right: tuple[int, int], lag: float = 60.0) -> list[dict[str, Any]]:
    """For each of the last days (right, wrong): as many predictions with their outcomes."""
    lines = []
    for day, (good, bad) in enumerate(right, -len(right)):
        for number in range(good + bad):
            at = NOW + day * DAY + number
            lines += [predicted((day, number), at), known((day, number), at + lag, "yes" if number < good else "no")]
    return lines


def judged(
    path: Path, *lines: dict[str, Any], of: Profile | None = None, is_open: bool = False, **config: Any
) -> LiveQuality:
    return judge_quality(
        [log(path / "log.jsonl", *lines)],
        profile() if of is None else of,
        QualityConfig(**config),
        deployment="cells",
        version="4",
        now=NOW,
        false_alarms_per_month=0.2,
        is_open=is_open,
    )


def test_windows_have_the_metric_of_their_predictions_with_its_interval(tmp_path: Path) -> None:
    found = judged(tmp_path, *days((9, 1), (285, 15)), predicted("x", NOW - 7.0))

    shown = [(each.since, each.until, each.requests, each.outcomes, each.estimate) for each in found.windows]
    assert shown == [(NOW - 2 * DAY, NOW - DAY, 10, 10, 0.9), (NOW - DAY, NOW, 301, 300, 0.95)]
    assert [tuple(round(end or 0.0, 3) for end in each.interval) for each in found.windows] == [
        (0.596, 0.982),
        (0.919, 0.969),
    ]
    assert (found.metric, found.reference, found.reference_rows, found.since) == ("accuracy", 0.95, 400, None)
    assert found.degradation.result is Result.PASS
    assert found.degradation.reason == (
        "accuracy is 0.9484 (0.9178 to 0.9680, 310 outcomes); it was 0.9500 on 400 rows of the holdout"
    )


def test_a_degradation_is_found_and_dated_though_many_good_days_came_before_it(tmp_path: Path) -> None:
    found = judged(tmp_path, *days(*[(190, 10)] * 20, (160, 40), (160, 40)))

    assert found.degradation.result is Result.FAIL
    assert found.since == NOW - 2 * DAY
    assert (found.degradation.estimate, found.degradation.n) == (0.8, 400)
    assert "is 0.8000 (0.7580 to 0.8363, 400 outcomes) since 2024-10-02 00:00 UTC; it was" in found.degradation.reason


def test_an_alarm_ends_when_no_evidence_is_left(tmp_path: Path) -> None:
    after_one_good_day = days((160, 40), (190, 10))
    assert judged(tmp_path, *after_one_good_day).degradation.result is Result.PASS
    assert judged(tmp_path, *after_one_good_day, is_open=True).degradation.result is Result.FAIL
    after_two = days((160, 40), (190, 10), (190, 10))
    assert judged(tmp_path, *after_two, is_open=True).degradation.result is Result.PASS


def test_few_outcomes_are_not_judged_and_none_is_said(tmp_path: Path) -> None:
    few = judged(tmp_path, *days((20, 1)))
    assert few.degradation.result is Result.NOT_ENOUGH_DATA
    assert "it takes about" in few.degradation.reason

    none = judged(tmp_path, predicted("x", NOW - 5))
    assert none.degradation.reason.startswith("no outcome is known of 1 requests")
    nothing = judged(tmp_path, known("x", NOW))
    assert (nothing.windows, nothing.degradation.result) == ((), Result.NOT_ENOUGH_DATA)


def test_predictions_that_are_too_new_wait(tmp_path: Path) -> None:
    found = judged(tmp_path, *days((90, 10), (0, 50)), delay="86401s")

    assert (found.waiting, [each.outcomes for each in found.windows]) == (50, [100])
    assert found.lag_s == (60.0, 60.0)
    assert found.notes == ()


def test_late_outcomes_that_differ_from_early_ones_are_said(tmp_path: Path) -> None:
    early, late = days((95, 5)), []
    for number in range(100):
        at = NOW - 3 * DAY + number
        late += [predicted(("late", number), at), known(("late", number), at + 2 * DAY, "yes" if number < 60 else "no")]

    found = judged(tmp_path, *early, *late, delay="1h")

    assert found.notes[0].startswith("A tenth of the outcomes took longer than 2 d 0 h")
    assert (
        "are worse (0.6000) than earlier ones (0.9500): the newest windows look better than they will" in found.notes[1]
    )


def test_slices_are_values_of_categories_and_quarters_of_numbers(tmp_path: Path) -> None:
    rows = [
        ("north", 10.0, True),
        ("north", 60.0, False),
        ("it's", 25.0, True),
        (None, None, True),
        ("north", 90.0, True),
    ]
    lines = []
    for number, (region, age, is_right) in enumerate(rows):
        fields = {"region/part": region, "age": age}
        lines.append(predicted(number, NOW - 9, fields=fields))
        lines.append(known(number, NOW - 8, "yes" if is_right else "no"))

    found = judged(tmp_path, *lines, slices=["region/part", "age", "weight"])

    assert [(each.name, each.outcomes, round(each.estimate or 0, 2)) for each in found.slices] == [
        ("region/part = north", 3, 0.67),
        ("region/part = it's", 1, 1.0),
        ("region/part missing", 1, 1.0),
        ("age up to 25", 2, 1.0),
        ("age 50 to 75", 1, 0.0),
        ("age above 75", 1, 1.0),
        ("age missing", 1, 1.0),
    ]
    assert found.notes == ("No logged prediction has the column 'weight': add it to `serving.log.fields`.",)


def test_slices_are_those_since_a_degradation_began(tmp_path: Path) -> None:
    lines = days(*[(190, 10)] * 5, (120, 80))
    for line in lines:
        if line["event"] == "prediction":
            line["fields"] = {"region": "north" if line["time"] % DAY < 150 else "south"}

    found = judged(tmp_path, *lines, slices=["region"])

    shown = [(each.name, each.requests, each.estimate) for each in found.slices]
    assert (found.since, shown) == (NOW - DAY, [("region = north", 150, 0.8), ("region = south", 50, 0.0)])


def test_rare_values_are_one_slice(tmp_path: Path) -> None:
    shops = [*range(12), *range(30)]
    lines = [predicted(n, NOW - 9, fields={"shop": f"s{shop:02d}"}) for n, shop in enumerate(shops)]

    found = judged(tmp_path, *lines, slices=["shop"])

    frequent = [(f"shop = s{shop:02d}", 2) for shop in range(12)]
    assert [(each.name, each.requests) for each in found.slices] == [*frequent, ("shop: others", 18)]


def test_other_versions_copies_and_chosen_revisions_do_not_count(tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [{"version": "3"}, {"kind": "mirrored"}, {"kind": "chosen"}, {"deployment": "other"}]
    lines = [predicted(number, NOW - 9, **each) for number, each in enumerate([*others, {"kind": "fallback"}])]

    found = judged(tmp_path, *lines, *(known(number, NOW - 8) for number in range(5)), known("who", NOW))

    assert [(each.requests, each.outcomes) for each in found.windows] == [(1, 1)]


def test_errors_of_numbers_are_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    regression = profile("absolute_error", Losses(400, 1.0, 0.6))

    def lines(scale: float) -> list[dict[str, Any]]:
        found = []
        for number, error in enumerate(rng.exponential(scale, 400)):
            found += [predicted(number, NOW - 1000 + number, 3.0), known(number, NOW, 3.0 + error)]
        return found

    assert judged(tmp_path, *lines(1.0), of=regression).degradation.result is Result.PASS
    worse = judged(tmp_path, *lines(1.8), of=regression)
    assert worse.degradation.result is Result.FAIL
    assert worse.degradation.rule.startswith("mean above 1.08")


@pytest.mark.parametrize(
    "of", [profile(losses=None), profile(losses=Losses(20, 0.0, 0.0)), profile("absolute_error", Losses(1, 0.0, 0.0))]
)
def test_without_a_standard_the_metric_is_shown_only(of: Profile, tmp_path: Path) -> None:
    found = judged(tmp_path, *days((300, 300)), of=of, metric="accuracy")

    assert (found.degradation.estimate, found.degradation.result) == (0.5, Result.NOT_ENOUGH_DATA)
    assert found.degradation.reason.endswith("the profile has nothing to compare it with")


def test_fewer_held_out_rows_allow_a_larger_loss() -> None:
    few, many = (
        standard_of("accuracy", profile(losses=Losses(n, 0.95, 0.0475)), 0.02, DAY, 1.0) for n in (100, 10_000)
    )

    assert few is not None
    assert many is not None
    assert (round(few.loss, 3), round(many.loss, 3)) == (0.122, 0.074)


@pytest.mark.parametrize("metric", ["accuracy", "absolute_error"])
def test_good_models_with_a_lucky_holdout_seldom_alarm_in_a_month(metric: str) -> None:
    rng, models, alarms = np.random.default_rng(7), 100, 0
    for _ in range(models):
        if metric == "accuracy":
            held_out, live = rng.random(114) < 0.95, rng.random((30, 100)) < 0.05
        else:
            held_out, live = rng.exponential(1.0, 114), rng.exponential(1.0, (30, 100))
        losses = Losses(114, float(held_out.mean()), float(held_out.var()))
        standard = standard_of(metric, profile(metric, losses), 0.0, DAY, 0.25)
        assert standard is not None
        excess = log_excess(live, standard.loss).sum(axis=1)
        alarms += any(logsumexp(log_since(excess[:day])) >= np.log(standard.evidence) for day in range(1, 31))
    assert alarms / models < 0.1


def test_a_reference_of_training_rows_is_said(tmp_path: Path) -> None:
    found = judged(tmp_path, *days((9, 1)), of=profile(source="training"))

    assert found.notes == (
        "The model was trained on the rows that it is compared with: live figures look worse than they are.",
    )


def test_a_path_without_files_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^monitoring.quality.outcomes: expected files of the prediction log"):
        judge_quality(
            [str(tmp_path / "none")],
            profile(),
            QualityConfig(),
            deployment="cells",
            version="4",
            now=NOW,
            false_alarms_per_month=1.0,
        )

"""What the steps of a rollout take."""

from __future__ import annotations

import yaml

from winnow.config.serving import RolloutConfig
from winnow.rollout.forecast import Traffic, forecast
from winnow.rollout.sizes import pairs_to_find


def test_one_percent_of_100_requests_a_second_is_too_few_within_300_seconds() -> None:
    config = RolloutConfig.model_validate(
        {"strategy": "canary", "max_step_duration_seconds": 300, "conditions": [{"type": "errors"}]}
    )
    found = forecast(config, Traffic(100))
    first = found.needs[0]
    assert (first.least_requests, first.fits) == (300, "no")
    assert first.requests is not None and first.requests > 300
    assert found.seconds is None
    longer, heavier = found.proposals
    assert ("max_step_duration_seconds: " in longer.keys, "initial_weight: 0." in heavier.keys) == (True, True)
    for each in found.proposals:
        content = yaml.safe_load(each.keys)["serving"]["rollout"]
        other = RolloutConfig.model_validate({**config.model_dump(exclude_unset=True), **content})
        assert forecast(other, Traffic(100)).seconds == each.seconds


def test_a_pause_at_a_share_that_is_left_out_is_left_out_as_well() -> None:
    keys = {"strategy": "canary", "max_step_duration_seconds": 300, "pause_at": [0.01, 0.5]}
    found = forecast(RolloutConfig.model_validate(keys), Traffic(100))
    assert "pause_at: [0.5]" in found.proposals[-1].keys


def test_rolling_has_nothing_to_plan() -> None:
    assert forecast(RolloutConfig(), Traffic(100)).needs == ()


AB = {"strategy": "ab", "metric": "accuracy", "outcomes": "log.jsonl", "conditions": []}


def test_an_ab_test_says_how_long_its_outcomes_take_and_that_a_paired_test_takes_fewer_rows() -> None:
    config = RolloutConfig.model_validate({**AB, "min_effect": 0.01, "max_duration": "1d"})
    found = forecast(config, Traffic(1.0, outcome_rate=0.5))
    (need,) = found.needs
    assert (need.condition, need.share, need.fits) == ("accuracy", 0.5, "no")
    assert need.requests is not None and 25_000 < need.requests < 50_000
    assert need.seconds == need.requests / 0.25
    hours = -(-need.requests // 900)
    assert [each.keys for each in found.proposals] == [f"serving:\n  rollout:\n    max_duration: {hours}h\n"]
    assert found.advice.startswith("A difference of 0.01 in accuracy takes about 86,000 outcomes. ")
    assert "about 3,100 to 12,400 show it where 5 to 20 %" in found.advice


def test_one_point_of_accuracy_takes_so_many_rows_by_how_many_predictions_differ() -> None:
    assert [round(pairs_to_find(0.01, differing), -2) for differing in (0.05, 0.1, 0.2)] == [3100, 6200, 12400]


def test_a_rollout_that_can_be_judged_needs_no_proposal() -> None:
    found = forecast(RolloutConfig(strategy="canary"), Traffic(1000))
    assert found.proposals == ()
    # Five steps of 300 s, and what the first one takes longer than that.
    assert found.seconds is not None and found.seconds >= 4 * 300

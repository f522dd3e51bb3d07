"""What the steps of a rollout take."""

from __future__ import annotations

from winnow.config.serving import RolloutConfig
from winnow.rollout.forecast import forecast


def test_one_percent_of_100_requests_a_second_is_too_few_within_300_seconds() -> None:
    config = RolloutConfig.model_validate(
        {"strategy": "canary", "max_step_duration_seconds": 300, "conditions": [{"type": "errors"}]}
    )
    found = forecast(config, 100)
    first = found.needs[0]
    assert (first.least_requests, first.fits) == (300, "no")
    assert first.requests is not None and first.requests > 300
    assert "max_step_duration_seconds" in found.proposal


def test_rolling_has_nothing_to_plan() -> None:
    assert forecast(RolloutConfig(), 100).needs == ()

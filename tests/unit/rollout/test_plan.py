"""A strategy becomes a list of steps."""

from __future__ import annotations

from winnow.config.serving import ConditionConfig, RolloutConfig
from winnow.rollout.plan import Condition, Step, from_values, steps_of, to_values
from winnow.routing import Route

ERRORS, LATENCY = Condition("errors", margin=0.01), Condition("latency", margin=0.5)


def test_a_rolling_update_has_no_step_with_two_revisions():
    assert steps_of(RolloutConfig()) == ()


def test_a_canary_rises_step_by_step_and_splits_alpha_over_its_steps():
    timing = {"least_s": 300.0, "most_s": 3600.0, "lease_s": 900.0, "conditions": (ERRORS, LATENCY), "alpha": 0.0125}
    assert steps_of(RolloutConfig(strategy="canary")) == tuple(
        Step(weight=weight, **timing) for weight in (0.01, 0.05, 0.25, 0.5)
    )


def test_a_person_is_waited_for_after_the_step_of_that_weight():
    config = RolloutConfig(strategy="canary", initial_weight=0.1, weight_steps=(0.5, 1.0), pause_at=(0.1,))
    assert [(each.weight, each.is_pause) for each in steps_of(config)] == [(0.1, False), (0.1, True), (0.5, False)]


def test_a_shadow_compares_first_and_then_goes_on_as_configured():
    config = RolloutConfig(
        strategy="shadow", then="canary", comparisons=2000, mirror=0.1, initial_weight=0.5, weight_steps=(1.0,)
    )
    mirrored, canary = steps_of(config)
    assert (mirrored.weight, mirrored.mirror, mirrored.least_s, mirrored.min_comparisons) == (0.0, 0.1, 0.0, 2000)
    assert [each.type for each in mirrored.conditions] == ["errors", "latency", "agreement"]
    assert [each.type for each in canary.conditions] == ["errors", "latency"]


def test_an_ab_test_lasts_until_a_person_decides():
    (step,) = steps_of(RolloutConfig(strategy="ab", weights=(0.7, 0.3), unit="header:x-user-id"))
    assert step.most_s is None
    assert step.route(4, 1, 2) == Route(serial=4, stable=1, candidate=2, weight=0.3, unit="x-user-id", lease_s=900.0)


def test_an_ab_test_by_outcomes_lasts_until_they_show_a_winner_or_max_duration():
    config = RolloutConfig(
        strategy="ab", metric="accuracy", min_effect=0.02, max_duration="2d", outcomes=("log.jsonl",), conditions=()
    )
    outcomes = Condition("outcomes", margin=0.02, metric="accuracy", paths=("log.jsonl",))
    assert steps_of(config) == (
        Step(weight=0.5, least_s=300.0, most_s=172_800.0, lease_s=900.0, conditions=(outcomes,), alpha=0.05),
    )


def test_a_gateway_counts_nothing_and_keeps_no_lease():
    conditions = (ConditionConfig(type="errors"), ConditionConfig(type="metric", url="http://localhost/", max=1))
    config = RolloutConfig(
        strategy="canary", weight_steps=(1.0,), traffic="gateway", step_duration_seconds=5, conditions=conditions
    )
    (step,) = steps_of(config)
    assert step.conditions == (Condition("metric", url="http://localhost/", max=1),)
    assert step.route(4, 1, 2).lease_s is None


def test_steps_survive_a_record():
    steps = steps_of(RolloutConfig(strategy="canary"))
    assert from_values(to_values(steps)) == steps

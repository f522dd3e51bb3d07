"""A strategy as data: the steps of a rollout.

`rolling` has no step with two revisions. `canary` raises the candidate's weight step by step. `shadow` has one step
that mirrors requests, then goes on as configured. `ab` has one step that lasts until outcomes or a person decide.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from winnow.config.quantities import seconds_of
from winnow.config.serving import ConditionConfig, RolloutConfig
from winnow.routing import Route

LEASE_STEPS = 3
"""A router's lease in step durations."""

LEAST_LEASE_S = 30.0

MOST_STEPS = 12
"""`max_step_duration_seconds` in step durations, by default."""

MARGINS = {"errors": 0.01, "latency": 0.5, "agreement": 0.0, "prometheus": 0.0, "metric": 0.0}
"""Default margins by condition."""

MAX_FLIPS = 0.005
"""The default share of compared predictions that may differ."""

OF_ROUTERS = ("errors", "latency", "agreement")
"""Conditions judged by what routers count."""

OF_ADDRESSES = ("prometheus", "metric")
"""Conditions judged by a number that an address answers with."""


class Condition(Struct, frozen=True):
    """What a step has to show, as `winnow.config.serving.ConditionConfig`, with the defaults filled in.

    The type `outcomes` is that of an A/B test; its `margin` is the least difference that is worth a change.

    Attributes:
        metric: what outcomes are compared by.
        paths: where the prediction log and its feedback are.
    """

    type: str
    margin: float = 0.0
    quantile: float = 0.95
    max_flips: float = MAX_FLIPS
    url: str = ""
    query: str = ""
    min: float | None = None
    max: float | None = None
    metric: str = ""
    paths: tuple[str, ...] = ()


class Step(Struct, frozen=True):
    """One step of a rollout: a route with two revisions, and what it has to show.

    Attributes:
        weight: share of the requests that the candidate answers.
        mirror: share of the requests that are copied to the candidate.
        least_s: how long the step lasts at least.
        most_s: how long it waits for its verdict before it pauses; None: until a person decides.
        lease_s: how long routers keep the route without a driver.
        conditions: all have to pass.
        alpha: probability that an equal candidate fails the step: the rollout's, divided by its number of steps with
            conditions. `rollout.verdict` divides it among the conditions.
        min_comparisons: how many mirrored answers have to be compared.
        is_pause: the weights stay as in the step before until a person resumes the rollout. All else is ignored.
        unit, may_choose, is_gateway: as in `Route`.
    """

    weight: float = 0.0
    mirror: float = 0.0
    least_s: float = 0.0
    most_s: float | None = None
    lease_s: float = LEAST_LEASE_S
    conditions: tuple[Condition, ...] = ()
    alpha: float = 0.05
    min_comparisons: int = 0
    is_pause: bool = False
    unit: str = ""
    may_choose: bool = False
    is_gateway: bool = False

    def route(self, serial: int, stable: int, candidate: int) -> Route:
        """The route of this step. `serial`: its number."""
        return Route(
            serial=serial,
            stable=stable,
            candidate=candidate,
            weight=self.weight,
            unit=self.unit,
            may_choose=self.may_choose,
            mirror=self.mirror,
            lease_s=None if self.is_gateway else self.lease_s,
            is_gateway=self.is_gateway,
        )


def steps_of(config: RolloutConfig, gateway_conditions: tuple[str, ...] | None = None) -> tuple[Step, ...]:
    """The steps with two revisions; none for `rolling`. After the last one, the candidate serves all requests.

    A step has those conditions that it can show: `agreement` needs a mirror, and with `traffic: gateway` no router
    counts requests. A step without conditions passes when its least duration is over. `gateway_conditions`: conditions
    that the platform's own gateway counts requests for, which splits them in place of routers; None where routers do
    unless `traffic` says otherwise.
    """
    if config.strategy == "rolling":
        return ()
    if gateway_conditions is not None:
        config = config.model_copy(update={"traffic": "gateway"})
    counted = OF_ROUTERS if config.traffic == "router" else gateway_conditions or ()
    steps = {"canary": _canary, "shadow": _shadow, "ab": _ab}[config.strategy](config, counted)
    judged = sum(bool(each.conditions) for each in steps)
    return tuple(msgspec.structs.replace(each, alpha=config.alpha / max(judged, 1)) for each in steps)


def to_values(steps: tuple[Step, ...]) -> tuple[dict[str, Any], ...]:
    """Steps as plain JSON values, for `Rollout.steps`."""
    return tuple(msgspec.to_builtins(steps))


def from_values(values: tuple[dict[str, Any], ...]) -> tuple[Step, ...]:
    """The steps of `Rollout.steps`. Raises msgspec.ValidationError where they are none."""
    return msgspec.convert(values, tuple[Step, ...])


def _canary(config: RolloutConfig, counted: tuple[str, ...]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for weight in (config.initial_weight, *config.weight_steps):
        if weight < 1:
            steps.append(_step(config, counted, weight=weight))
            if weight in config.pause_at:
                steps.append(Step(weight=weight, is_pause=True))
    return tuple(steps)


def _shadow(config: RolloutConfig, counted: tuple[str, ...]) -> tuple[Step, ...]:
    mirrored = _step(config, counted, mirror=config.mirror)
    if "agreement" in counted and not any(each.type == "agreement" for each in mirrored.conditions):
        agreement = _condition(ConditionConfig(type="agreement"))
        mirrored = msgspec.structs.replace(mirrored, conditions=(*mirrored.conditions, agreement))
    if config.comparisons is not None:
        mirrored = msgspec.structs.replace(mirrored, least_s=0.0, min_comparisons=config.comparisons)
    return (mirrored, *(_canary(config, counted) if config.then == "canary" else ()))


def _ab(config: RolloutConfig, counted: tuple[str, ...]) -> tuple[Step, ...]:
    step = _step(config, counted, weight=config.weights[1])
    if config.metric is None:
        return (msgspec.structs.replace(step, most_s=None),)
    outcomes = Condition("outcomes", margin=config.min_effect, metric=config.metric, paths=config.outcomes)
    most_s, conditions = seconds_of(config.max_duration), (*step.conditions, outcomes)
    return (msgspec.structs.replace(step, most_s=most_s, conditions=conditions),)


def _step(config: RolloutConfig, counted: tuple[str, ...], *, weight: float = 0.0, mirror: float = 0.0) -> Step:
    least_s, is_gateway = config.step_duration_seconds, config.traffic == "gateway"
    most_s = config.max_step_duration_seconds
    return Step(
        weight=weight,
        mirror=mirror,
        least_s=least_s,
        most_s=MOST_STEPS * least_s if most_s is None else max(most_s, least_s),
        lease_s=max(LEASE_STEPS * least_s, LEAST_LEASE_S),
        conditions=tuple(
            _condition(each)
            for each in config.conditions
            if each.type in (*OF_ADDRESSES, *counted) and (mirror or each.type != "agreement")
        ),
        unit=config.unit.removeprefix("header:") if config.unit != "request" else "",
        may_choose=config.may_choose,
        is_gateway=is_gateway,
    )


def _condition(config: ConditionConfig) -> Condition:
    return Condition(
        type=config.type,
        margin=MARGINS[config.type] if config.margin is None else config.margin,
        quantile=config.quantile,
        max_flips=MAX_FLIPS if config.max_flips is None else config.max_flips,
        url=config.url or "",
        query=config.query or "",
        min=config.min,
        max=config.max,
    )

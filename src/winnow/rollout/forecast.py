"""How long the steps of a rollout take at a given traffic, and which cannot be judged in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from msgspec import Struct

from winnow.config.serving import RolloutConfig
from winnow.rollout.plan import Condition, Step, steps_of
from winnow.rollout.sizes import judged_by_counts, outcomes_to_find, pairs_to_find, to_pass

SPREAD_OF_85 = 0.357
"""The standard deviation of an accuracy of 0.85."""

SHARES = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
"""First shares that are proposed."""

WAY = "`compare-ab`"


class Need(Struct, frozen=True):
    """What one condition of a step takes.

    Attributes:
        step: its number, from 1.
        share: share of the requests that the candidate answers or is sent copies of.
        requests: of the candidate, or comparisons; None where no number suffices.
        seconds: for that many; None where no number suffices.
        least_requests: how many the step's least duration gives.
        fits: "least": within the least duration; "longest": before the step pauses; "no".
    """

    step: int
    share: float
    condition: str
    requests: int | None
    seconds: float | None
    least_requests: int
    fits: str


class Proposal(Struct, frozen=True):
    """Other steps, with which every step can be judged.

    Attributes:
        keys: of `serving.rollout`, as YAML to be pasted.
        seconds: about how long the whole rollout then takes.
    """

    keys: str
    seconds: float


class Forecast(Struct, frozen=True):
    """What a rollout takes.

    Attributes:
        seconds: about how long it takes; None where a step cannot be judged in time.
        proposals: what would make that possible: longer steps, or a larger first share.
        advice: how many outcomes an A/B test takes, and how many rows another test would; empty without one.
    """

    strategy: str
    needs: tuple[Need, ...]
    seconds: float | None = None
    proposals: tuple[Proposal, ...] = ()
    advice: str = ""


@dataclass(frozen=True)
class Traffic:
    """What is expected of a deployment.

    Attributes:
        rate: requests per second.
        error_rate: share at which both revisions err.
        flip_rate: share of the compared predictions that differ.
        outcome_rate: share of the requests whose outcome becomes known.
        spread: standard deviation of the metric of an A/B test; of a share p, √(p (1 - p)).
    """

    rate: float
    error_rate: float = 0.001
    flip_rate: float = 0.0
    outcome_rate: float = 1.0
    spread: float = SPREAD_OF_85


def forecast(config: RolloutConfig, traffic: Traffic) -> Forecast:
    """What each step takes, if both revisions are equally good but for the minimal effect of an A/B test."""
    needs, advice = _needs(config, traffic), ""
    for condition in (each for step in steps_of(config) for each in step.conditions if each.type == "outcomes"):
        step = steps_of(config)[0]
        advice = _advice(condition, outcomes_to_find(condition.margin, traffic.spread, step.weight, step.alpha))
    seconds = _seconds(config, needs)
    found = (_longer(config, needs, traffic), _heavier(config, traffic)) if seconds is None else ()
    return Forecast(config.strategy, needs, seconds, tuple(each for each in found if each is not None), advice)


def _needs(config: RolloutConfig, traffic: Traffic) -> tuple[Need, ...]:
    needs = []
    for number, step in enumerate(steps_of(config), start=1):
        for condition in () if step.is_pause else judged_by_counts(step):
            needed = to_pass(condition, step, traffic.error_rate, traffic.flip_rate)
            needs.append(_need(number, step, condition.type, needed, traffic.rate))
        for condition in (each for each in step.conditions if each.type == "outcomes"):
            needed = outcomes_to_find(condition.margin, traffic.spread, step.weight, step.alpha)
            mine = None if needed is None else math.ceil(needed * step.weight)
            needs.append(_need(number, step, condition.metric, mine, traffic.rate * traffic.outcome_rate))
    return tuple(needs)


def _seconds(config: RolloutConfig, needs: tuple[Need, ...]) -> float | None:
    """About how long a rollout takes; None where a step does not fit. Waiting for a person does not count."""
    if any(each.fits == "no" for each in needs):
        return None
    total = 0.0
    for number, step in enumerate(steps_of(config), start=1):
        total += max([step.least_s, *(each.seconds or 0.0 for each in needs if each.step == number)])
    return total


def _need(number: int, step: Step, condition: str, requests: int | None, rate: float) -> Need:
    share = step.weight or step.mirror
    seconds = None if requests is None else requests / (rate * share)
    fits = "no"
    if seconds is not None and seconds <= step.least_s:
        fits = "least"
    elif seconds is not None and (step.most_s is None or seconds <= step.most_s):
        fits = "longest"
    return Need(number, share, condition, requests, seconds, int(rate * share * step.least_s), fits)


def _advice(condition: Condition, outcomes: int | None) -> str:
    """How many outcomes the minimal effect takes, and when a test on the same rows is better."""
    effect, metric = condition.margin, condition.metric
    needed = "more than 100,000,000" if outcomes is None else f"about {float(f'{outcomes:.2g}'):,.0f}"
    said = f"A difference of {effect:g} in {metric} takes {needed} outcomes. "
    if metric != "accuracy":
        return (
            f"{said}Where outcomes do not depend on the answers, compare both versions on the same rows first: {WAY}."
        )
    few, many = (round(pairs_to_find(effect, max(share, effect)), -2) for share in (0.05, 0.2))
    return (
        f"{said}On rows with known outcomes that both versions predict, about {few:,} to {many:,} show it where 5 to "
        f"20 % of the predictions differ: unless outcomes depend on the answers, that is the better way ({WAY})."
    )


def _longer(config: RolloutConfig, needs: tuple[Need, ...], traffic: Traffic) -> Proposal | None:
    """Steps that may last until each can be judged; None where no number of requests suffices."""
    late = [each.seconds for each in needs if each.fits == "no"]
    known = [each for each in late if each is not None]
    if len(known) < len(late):
        return None
    key, value = "max_step_duration_seconds", f"{60 * math.ceil(max(known) / 60)}"
    if config.metric is not None:
        key, value = "max_duration", f"{math.ceil(max(known) / 3600)}h"
    other = RolloutConfig.model_validate({**config.model_dump(), key: value})
    return _proposed(other, traffic, f"{key}: {value}")


def _heavier(config: RolloutConfig, traffic: Traffic) -> Proposal | None:
    """The smallest first share with which every step can be judged in its time; None without one."""
    if config.strategy != "canary":
        return None
    for share in SHARES:
        if share > config.initial_weight:
            steps = [each for each in config.weight_steps if each > share]
            pauses = [each for each in config.pause_at if each in (share, *steps)]
            keys = {"initial_weight": share, "weight_steps": tuple(steps), "pause_at": tuple(pauses)}
            text = f"initial_weight: {share:g}\n    weight_steps: {steps}"
            text += f"\n    pause_at: {pauses}" if config.pause_at else ""
            found = _proposed(config.model_copy(update=keys), traffic, text)
            if found is not None:
                return found
    return None


def _proposed(config: RolloutConfig, traffic: Traffic, keys: str) -> Proposal | None:
    seconds = _seconds(config, _needs(config, traffic))
    return None if seconds is None else Proposal(f"serving:\n  rollout:\n    {keys}\n", seconds)

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


class Forecast(Struct, frozen=True):
    """What a rollout takes.

    Attributes:
        proposal: keys of `serving.rollout` with which every step can be judged, as YAML.
        advice: how many outcomes an A/B test takes, and how many rows another test would; empty without one.
    """

    strategy: str
    needs: tuple[Need, ...]
    proposal: str
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
    needs, advice = [], ""
    for number, step in enumerate(steps_of(config), start=1):
        for condition in () if step.is_pause else judged_by_counts(step):
            needed = to_pass(condition, step, traffic.error_rate, traffic.flip_rate)
            needs.append(_need(number, step, condition.type, needed, traffic.rate))
        for condition in (each for each in step.conditions if each.type == "outcomes"):
            needed = outcomes_to_find(condition.margin, traffic.spread, step.weight, step.alpha)
            mine = None if needed is None else math.ceil(needed * step.weight)
            needs.append(_need(number, step, condition.metric, mine, traffic.rate * traffic.outcome_rate))
            advice = _advice(condition, needed)
    return Forecast(config.strategy, tuple(needs), _proposal(tuple(needs), config), advice)


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
    said = f"A difference of {effect:g} in {metric} takes about {outcomes or 'more than 100,000,000'} outcomes. "
    if metric != "accuracy":
        return (
            f"{said}Where outcomes do not depend on the answers, compare both versions on the same rows first: {WAY}."
        )
    few, many = (round(pairs_to_find(effect, max(share, effect)), -2) for share in (0.05, 0.2))
    return (
        f"{said}On rows with known outcomes that both versions predict, about {few:,} to {many:,} show it where 5 to "
        f"20 % of the predictions differ: unless outcomes depend on the answers, that is the better way ({WAY})."
    )


def _proposal(needs: tuple[Need, ...], config: RolloutConfig) -> str:
    late = [each.seconds for each in needs if each.fits == "no"]
    known = [each for each in late if each is not None]
    if not late or len(known) < len(late):
        return ""
    longest = f"max_step_duration_seconds: {60 * math.ceil(max(known) / 60)}"
    if config.metric is not None:
        longest = f"max_duration: {math.ceil(max(known) / 3600)}h"
    return f"serving:\n  rollout:\n    {longest}\n"

"""How long the steps of a rollout take at a given traffic, and which cannot be judged in time."""

from __future__ import annotations

import math

from msgspec import Struct

from winnow.config.serving import RolloutConfig
from winnow.rollout.plan import Step, steps_of
from winnow.rollout.sizes import judged_by_counts, to_pass


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
    """What a rollout takes. `proposal`: keys of `serving.rollout` with which every step can be judged, as YAML."""

    strategy: str
    needs: tuple[Need, ...]
    proposal: str


def forecast(config: RolloutConfig, rate: float, error_rate: float = 0.001, flip_rate: float = 0.0) -> Forecast:
    """What each step takes at `rate` requests per second, if both revisions err at `error_rate`.

    Args:
        flip_rate: share of the compared predictions that differ.
    """
    steps = steps_of(config)
    needs = tuple(
        _need(number, step, condition.type, to_pass(condition, step, error_rate, flip_rate), rate)
        for number, step in enumerate(steps, start=1)
        if not step.is_pause
        for condition in judged_by_counts(step)
    )
    return Forecast(config.strategy, needs, _proposal(needs))


def _need(number: int, step: Step, condition: str, requests: int | None, rate: float) -> Need:
    share = step.weight or step.mirror
    seconds = None if requests is None else requests / (rate * share)
    fits = "no"
    if seconds is not None and seconds <= step.least_s:
        fits = "least"
    elif seconds is not None and (step.most_s is None or seconds <= step.most_s):
        fits = "longest"
    return Need(number, share, condition, requests, seconds, int(rate * share * step.least_s), fits)


def _proposal(needs: tuple[Need, ...]) -> str:
    late = [each.seconds for each in needs if each.fits == "no"]
    known = [each for each in late if each is not None]
    if not late or len(known) < len(late):
        return ""
    return f"serving:\n  rollout:\n    max_step_duration_seconds: {60 * math.ceil(max(known) / 60)}\n"

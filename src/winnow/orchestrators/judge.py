"""Judge the current step of a rollout."""

from __future__ import annotations

from collections.abc import Sequence

from winnow.rollout.plan import from_values
from winnow.rollout.verdict import Result, Verdict
from winnow.routing import Rollout, RouterReport


def judge(rollout: Rollout, reports: Sequence[RouterReport]) -> Verdict:
    """The verdict on the current step by what its routers have counted. One with conditions is left to a person."""
    step = from_values(rollout.steps)[rollout.step]
    if not step.conditions:
        return Verdict(rollout.step, (), Result.PASS, "the step has no conditions")
    requests = sum(each.candidate.requests for each in reports)
    named = ", ".join(each.type for each in step.conditions)
    reason = f"the candidate has answered {requests} requests; a person has to judge {named}"
    return Verdict(rollout.step, (), Result.NOT_ENOUGH_DATA, reason)

"""What the observed requests say about one step of a rollout."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Result(StrEnum):
    """A verdict. Only `pass` promotes."""

    PASS = "pass"
    FAIL = "fail"
    NOT_ENOUGH_DATA = "not_enough_data"


class Finding(Struct, frozen=True):
    """The verdict of one condition.

    Attributes:
        condition: its type.
        estimate: what was measured; None where nothing was.
        interval: that contains the true value with the stated probability at every look; None for an open end.
        n: requests, comparisons or values that it rests on.
        margin: how much worse the candidate may be.
        rule: the test, in words.
        result: what follows.
        reason: one sentence for people: what was found, or what is missing.
    """

    condition: str
    estimate: float | None
    interval: tuple[float | None, float | None]
    n: int
    margin: float
    rule: str
    result: Result
    reason: str


class Verdict(Struct, frozen=True):
    """The verdict of one step.

    Attributes:
        step: its index.
        findings: one per condition.
        result: fails where one condition fails, passes where all pass.
        reason: one sentence for people.
    """

    step: int
    findings: tuple[Finding, ...]
    result: Result
    reason: str

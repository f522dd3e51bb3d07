"""What a test of evidence found: one shape for rollouts, gates, comparisons and outcomes."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Result(StrEnum):
    """A verdict. Only `pass` promotes."""

    PASS = "pass"
    FAIL = "fail"
    NOT_ENOUGH_DATA = "not_enough_data"


class Finding(Struct, frozen=True):
    """The verdict of one condition or gate.

    Attributes:
        condition: its name.
        estimate: what was measured; None where nothing was.
        interval: that contains the true value with the stated probability; None for an open end.
        n: requests, comparisons, rows or values that it rests on.
        margin: by how much the candidate may be worse, or has to be better.
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

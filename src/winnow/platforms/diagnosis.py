"""Why something that was started does not run: one word for worker groups, replicas and services of a stack."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """What keeps something from running.

    Attributes:
        reason: in the platform's words, in one line, without a full stop.
        remedy: what to do about it, a full sentence.
        is_awaited: nothing is wrong: it waits for its turn, however long that takes.
    """

    reason: str
    remedy: str
    is_awaited: bool = False

    def __str__(self) -> str:
        return f"{self.reason}. {self.remedy}"

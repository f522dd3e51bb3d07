"""How many bytes of large bodies and unread answers a server holds."""

from __future__ import annotations


class ByteBudget:
    """The bytes that a server holds of bodies and of unread answers, and the most that it accepts."""

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class Reservation:
    """The part of a budget that one request holds."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._held = 0

    def add(self, size: int) -> bool:
        """Hold so many bytes more; False, and nothing held, if the budget has no room for them."""
        if self._budget.held + size > self._budget.most:
            return False
        self._budget.held += size
        self._held += size
        return True

    def release(self) -> None:
        """Hold nothing any more."""
        self._budget.held -= self._held
        self._held = 0

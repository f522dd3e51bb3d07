"""A clock for tests that wait."""

from __future__ import annotations

from dataclasses import dataclass

from winnow.config.clock import Clock


@dataclass
class Time:
    """A clock that passes when its user sleeps."""

    now_s: float = 0.0

    def clock(self) -> Clock:
        """As the product takes it."""
        return Clock(now=lambda: self.now_s, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds

"""Measured costs of training a model alone and in stacks, and the stack size that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class StackCosts:
    """Attributes: `seconds` of work per model, by the number of models that trained as one; 1 is alone."""

    seconds: dict[int, float] = field(default_factory=dict)

    def note(self, models: int, seconds: float) -> None:
        """Record what one of `models` models took. The latest measurement counts as much as all earlier ones."""
        self.seconds[models] = (self.seconds.get(models, seconds) + seconds) / 2

    def next_size(self, waiting: int) -> int:
        """How many of `waiting` models to train as one next, so that all of them cost little.

        The first model trains alone, which shows what a stack must beat. All that wait form one stack where larger
        ones have been cheaper so far, or where none of half their number was tried. Otherwise they form equal stacks of
        about the cheapest size.
        """
        known = [size for size in self.seconds if size <= waiting]
        if not known:
            return 1
        best = min(known, key=lambda size: self.seconds[size])
        if best == max(known) or waiting >= 2 * max(known):
            return waiting
        return math.ceil(waiting / math.ceil(waiting / best))

    def share(self, models: int) -> float:
        """What a model among `models` costs, as a share of its cost alone. It is 2 at most: failures end early."""
        return min(2.0, self.seconds[models] / self.seconds[1])

    def reason_against(self) -> str | None:
        """Why models train alone: every stack that was tried cost more. None where that is not so."""
        alone, stacks = self.seconds.get(1, math.inf), [size for size in self.seconds if size > 1]
        if not stacks or min(self.seconds[size] for size in stacks) < alone:
            return None
        size = min(stacks, key=lambda size: self.seconds[size])
        return f"a model took {self.seconds[size]:.3g} s in a stack of {size}, and {alone:.3g} s alone"

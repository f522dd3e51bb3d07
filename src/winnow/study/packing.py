"""How many models one job trains as one batched model, and along which axis.

A batch holds all folds of a trial, the next fold of several trials, or both. More models in a batch cost less each, up
to a point that depends on the model and the machine: a worker measures it while it trains (`Packing`). Folds that train
as one cannot be stopped singly, so a pruner saves nothing where a batch holds all folds of a trial.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from winnow.config.experiment import Pack

MOST_MODELS = 64
"""How many models train as one without being asked for: small networks gain nothing beyond 20 to 80."""

GAIN = 0.8
"""What a model is taken to cost in a batch of twice the largest that was measured: less, so that it gets tried."""

RACED = 0.65
"""Share of the folds that a race trains (`benchmarks/racing.py`)."""


@dataclass(frozen=True)
class Width:
    """How much one job trains: the next `folds` folds of each of up to `trials` trials."""

    folds: int = 1
    trials: int = 1


@dataclass(frozen=True)
class Packing:
    """What a worker knows about training models as one.

    Attributes:
        most: how many models a job may hold; 1: each trains alone.
        is_fixed: whether a person has set `most`; then measurements do not matter.
        seconds: what a model costs, by the number of models that trained as one.
    """

    most: int = 1
    is_fixed: bool = False
    seconds: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Packing:
        """The packing that `execution.pack` asks for, before anything is measured."""
        if pack == "off":
            return cls()
        return cls(MOST_MODELS) if pack == "auto" else cls(pack, is_fixed=True)

    def measured(self, models: int, seconds: float) -> Packing:
        """With what one of `models` models that trained as one has cost. Later jobs count as much as all before."""
        if self.is_fixed:
            return self
        known = self.seconds.get(models, seconds)
        return dataclasses.replace(self, seconds={**self.seconds, models: (known + seconds) / 2})

    def off(self) -> Packing:
        """Without batches."""
        return Packing()

    def cost(self, models: int) -> float:
        """Seconds that a model costs in a batch of so many: measured, or estimated from the sizes next to it."""
        sizes = sorted(self.seconds) or [1]
        smallest, largest = sizes[0], sizes[-1]
        known = dict(self.seconds) or {1: 1.0}
        if models <= smallest or self.is_fixed:
            return known[smallest] * math.sqrt(smallest / models)
        if models > largest:
            return known[largest] * (GAIN if models >= 2 * largest else 1.0)
        above = bisect.bisect_left(sizes, models)
        low, high = sizes[above - 1], sizes[above]
        share = (models - low) / (high - low)
        return (1 - share) * known[low] + share * known[high]

    def width(self, folds: int, trials: int, *, is_racing: bool) -> Width:
        """The cheapest job for trials of `folds` folds, of which at most `trials` may be at work in it.

        Before anything is measured, that is all folds of one trial.

        Args:
            is_racing: whether a trial may end before its last fold.
        """
        together = min(folds, self.most)
        if not self.seconds and not self.is_fixed:
            return Width(together)
        counts = {2**power for power in range(trials.bit_length())} | {trials}
        options = [Width(at_once, count) for at_once in (together, 1) for count in sorted(counts)]

        def cost(width: Width) -> float:
            trained = RACED if is_racing and width.folds < folds else 1.0
            return trained * self.cost(width.folds * width.trials)

        return min((width for width in options if width.folds * width.trials <= self.most), key=cost)

"""How many models one job trains as one batched model, and along which axis.

A job holds all folds of a trial, the next fold of several trials, or both. More models in a job cost less each, up to a
point that depends on the model and the machine: ranks measure it while they train, and split jobs that are too large.
Folds that train as one cannot be stopped singly, so a pruner saves nothing where a job holds all folds of a trial.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from winnow.config.experiment import Pack

MOST_MODELS = 64
"""The largest job that `pack: auto` tries. Small networks gain nothing beyond 20 to 80 models."""

GAIN = 0.8
"""What a model is taken to cost in a job of at least twice the largest that was measured, so that it gets tried."""

_CHEAPER = 0.95
"""Larger jobs are tried only while the largest one measured costs at most this share of the next smaller one."""

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
        is_fixed: whether the user has set `most`; then nothing is measured.
        shares: what a model costs, as a share of its cost alone, by the number of models in a job.
    """

    most: int = 1
    is_fixed: bool = False
    shares: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Packing:
        """The packing that `execution.pack` asks for, before anything is measured."""
        if pack == "off":
            return cls()
        return cls(MOST_MODELS) if pack == "auto" else cls(pack, is_fixed=True)

    def measured(self, models: int, share: float) -> Packing:
        """With what a model has cost in a job of `models`. Later jobs count as much as all before."""
        if self.is_fixed or models == 1:
            return self
        known = self.shares.get(models, share)
        return dataclasses.replace(self, shares={**self.shares, models: (known + share) / 2})

    def cost(self, models: int) -> float:
        """What a model costs in a job of so many, measured or estimated from the nearest sizes. Alone, it costs 1."""
        if self.is_fixed:
            return 1 / math.sqrt(models)
        known = {1: 1.0, **self.shares}
        if models in known:
            return known[models]
        sizes = sorted(known)
        largest = sizes[-1]
        if models > largest:
            is_gaining = len(sizes) > 1 and known[largest] <= _CHEAPER * known[sizes[-2]]
            return known[largest] * (GAIN if is_gaining and models >= 2 * largest else 1.0)
        above = bisect.bisect_left(sizes, models)
        low, high = sizes[above - 1], sizes[above]
        part = (models - low) / (high - low)
        return (1 - part) * known[low] + part * known[high]

    def width(self, folds: int, trials: int, *, is_racing: bool) -> Width:
        """The cheapest job for trials of `folds` folds, of which at most `trials` may be at work in it.

        Before anything is measured, that is all folds of one trial.

        Args:
            is_racing: whether a trial may end before its last fold.
        """
        together = min(folds, self.most)
        if not self.shares and not self.is_fixed:
            return Width(together)
        counts = {2**power for power in range(trials.bit_length())} | {trials}
        options = [Width(at_once, count) for at_once in (together, 1) for count in sorted(counts)]

        def cost(width: Width) -> float:
            trained = RACED if is_racing and width.folds < folds else 1.0
            return trained * self.cost(width.folds * width.trials)

        return min((width for width in options if width.folds * width.trials <= self.most), key=cost)

"""A fold's learning curves: what was measured after its epochs."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Protocol

MOST_POINTS = 100
"""Of a curve that a study keeps: finer than a chart shows, and little beside the fold's training."""

Points = dict[str, tuple[tuple[int, float], ...]]
"""Curves by name: epochs (1-based) with the values measured after them."""


class OnEpoch(Protocol):
    """Called on every rank after an epoch, or later."""

    def __call__(self, epoch: int, epochs: int, loss: float, /, **metrics: float) -> None:
        """Take the number of an epoch from 1, the number of epochs, the training loss, and other measurements."""


class Curves:
    """The curves of one fold."""

    def __init__(self) -> None:
        self._values: defaultdict[str, dict[int, float]] = defaultdict(dict)

    def add(self, epoch: int, **values: float) -> None:
        """Add what was measured after an epoch. Values that are not finite are left out."""
        for name, value in values.items():
            if math.isfinite(value):
                self._values[name][epoch] = float(f"{value:.6g}")

    def points(self) -> Points:
        """At most `MOST_POINTS` of each curve, the first and the last among them, rounded to six digits."""
        return {name: _thinned(tuple(sorted(values.items()))) for name, values in self._values.items()}


def _thinned(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    last, steps = len(points) - 1, MOST_POINTS - 1
    return points if last < MOST_POINTS else tuple(points[round(place * last / steps)] for place in range(MOST_POINTS))

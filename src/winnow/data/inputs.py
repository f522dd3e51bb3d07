"""How a table's encoded columns become the inputs of a network, as far as that is the same in every fold.

Which columns have missing values, which parts of a date vary, and how many categories there are is decided over all
rows, so that inputs are as wide in every fold. All numbers (means, which categories are rare) are fitted to a fold's
training rows, by `preprocessing`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column, slices_of

Scaling = Literal["standard", "robust", "none"]
MOST_ONE_HOT = 16
"""Columns with more categories are embedded."""
MOST_DIMENSIONS = 50
CYCLES = {1: 365.25, 2: 7.0, 3: 86_400.0}
"""The length of each cycle in an encoded date, by its place: days of a year, days of a week, seconds of a day."""


@dataclass(frozen=True)
class Category:
    """A column of categories.

    Attributes:
        index: where its code lies in an encoded row.
        count: how many categories it has.
        has_missing: whether one of the table's rows has none.
    """

    index: int
    count: int
    has_missing: bool

    @property
    def codes(self) -> int:
        """How many codes its inputs have: 0 for rare and unknown values, the categories, perhaps a missing value."""
        return 1 + self.count + int(self.has_missing)

    @property
    def dimensions(self) -> int:
        """The length of its embedding: the rule of thumb of fastai (`fastai.tabular.model.emb_sz_rule`), up to 50."""
        return min(MOST_DIMENSIONS, round(1.6 * float(self.count**0.56)))


@dataclass(frozen=True)
class InputPlan:
    """What a network gets of an encoded row, in this order.

    Attributes:
        scaled: indexes of the numbers that are scaled; missing ones get a typical value.
        indicated: indexes of the numbers that add a 1 where they are missing, and else a 0.
        cycles: index and length of the cycles of dates; each gives a sine and a cosine.
        one_hot: columns that give one number for each code.
        embedded: columns of which each code has a vector that is learned with the network.
    """

    scaled: tuple[int, ...]
    indicated: tuple[int, ...]
    cycles: tuple[tuple[int, float], ...]
    one_hot: tuple[Category, ...]
    embedded: tuple[Category, ...]

    @property
    def dense(self) -> int:
        """How many inputs there are beside the embedded columns."""
        codes = sum(category.codes for category in self.one_hot)
        return len(self.scaled) + len(self.indicated) + 2 * len(self.cycles) + codes

    @property
    def prepared(self) -> int:
        """How many numbers a preprocessed row has: the dense ones, and a code for each embedded column."""
        return self.dense + len(self.embedded)

    @property
    def width(self) -> int:
        """How many inputs the network of a model's factory gets."""
        return self.dense + sum(category.dimensions for category in self.embedded)


def plan_inputs(
    columns: Sequence[Column], features: NDArray[np.float32], indicators: Literal["auto"] | bool
) -> InputPlan | None:
    """Plan the inputs of a table; None where they are its numbers themselves, scaled.

    Args:
        features: encoded, [rows, width of the columns].
        indicators: whether missing numbers and dates are indicated; `auto`: in tables with categories or dates.
    """
    is_mixed = any(column.kind in ("category", "date") for column in columns)
    wants_indicators = is_mixed if indicators == "auto" else indicators
    if not is_mixed and not wants_indicators:
        return None
    scaled: list[int] = []
    indicated: list[int] = []
    cycles: list[tuple[int, float]] = []
    categories: list[Category] = []
    for column, part in zip(columns, slices_of(columns), strict=True):
        has_missing = bool(np.isnan(features[:, part.start]).any())
        if column.kind == "category":
            categories.append(Category(part.start, len(column.categories), has_missing))
            continue
        scaled.append(part.start)
        if has_missing and wants_indicators:
            indicated.append(part.start)
        if column.kind == "date":
            places = {part.start + place: length for place, length in CYCLES.items()}
            ends = {place: (np.nanmin(features[:, place]), np.nanmax(features[:, place])) for place in places}
            cycles += [(place, length) for place, length in places.items() if not math.isclose(*ends[place])]
    if not is_mixed and not indicated:
        return None
    few = tuple(category for category in categories if category.count <= MOST_ONE_HOT)
    many = tuple(category for category in categories if category.count > MOST_ONE_HOT)
    return InputPlan(tuple(scaled), tuple(indicated), tuple(cycles), few, many)

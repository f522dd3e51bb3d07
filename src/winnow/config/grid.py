"""The grid over a space of finitely many values; parameters that are not active have none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any

from winnow.config.conditions import Parameter, in_order, is_active
from winnow.config.experiment import ChoiceParameter, IntParameter, SearchConfig

MOST_POINTS = 100_000
"""A study of more trials would take days to choose its parameters alone."""


def finite_values(parameter: Parameter) -> Iterable[Any] | None:
    """The values of a parameter in order, choices as in the file; None for a range of real numbers."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.choices
    low, high = parameter.bounds
    if isinstance(parameter, IntParameter):
        return range(int(low), int(high) + 1, parameter.step)
    if parameter.step is None:
        return (low,) if low == high else None
    start, step = Decimal(str(low)), Decimal(str(parameter.step))
    return (float(start + index * step) for index in range(int((Decimal(str(high)) - start) / step) + 1))


def points(space: Mapping[str, Parameter]) -> Iterator[dict[str, Any]]:
    """All points of a space, the last parameter changing fastest. Every parameter must have `finite_values`."""
    names = in_order(space)

    def extend(point: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
        if index == len(names):
            yield point
        elif not is_active(space[names[index]], point):
            yield from extend(point, index + 1)
        else:
            for value in finite_values(space[names[index]]) or ():
                yield from extend({**point, names[index]: value}, index + 1)

    return extend({}, 0)


def size(space: Mapping[str, Parameter], most: int = MOST_POINTS) -> int:
    """The number of points, counted up to `most`."""
    return sum(1 for _ in islice(points(space), most))


DEFAULT_TRIALS = 30


def trials_wanted(search: SearchConfig) -> int:
    """How many trials the finished study has, if no budget ends it: at most the points of a grid."""
    if search.sampler.type != "grid":
        return search.trials or DEFAULT_TRIALS
    return min(search.trials or MOST_POINTS, size(search.space))

"""The position of a value on an axis from 0 (bottom) to 1 (top), for numbers on either scale and for choices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from winnow.study.formatting import score, setting

_CROWDED = 0.07
"""Ticks that are closer than this share of the axis would overlap."""


@dataclass(frozen=True)
class Axis:
    """One axis of the parallel coordinates.

    Attributes:
        ticks: (position, text) pairs from the bottom up.
        choices: the position of each choice, by its text; None for numbers.
        low, high: the values at the bottom and the top. `low` is larger if less is better.
    """

    name: str
    ticks: tuple[tuple[float, str], ...]
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    choices: Mapping[str, float] | None = None

    def position(self, value: Any) -> float | None:
        """The position of `value`; None if it is not on this axis."""
        if self.choices is not None:
            return self.choices.get(choice_text(value))
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        if self.is_log and value <= 0:
            return None
        return _share(value, self.low, self.high, self.is_log)


def choice_text(value: Any) -> str:
    """A choice as the study stores it: text unchanged, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def parameter_axis(name: str, parameter: Mapping[str, Any]) -> Axis:
    """The axis of one entry of the experiment file's search space."""
    choices = parameter.get("choice", parameter.get("choices"))
    if choices is not None:
        texts = list(dict.fromkeys(map(choice_text, choices)))
        places = {text: (index + 0.5) / len(texts) for index, text in enumerate(texts)}
        return Axis(name, tuple((place, text) for text, place in places.items()), choices=places)
    is_whole = "int" in parameter
    low, high = parameter["int" if is_whole else "float"]
    is_log = bool(parameter.get("log", False))
    values = _log_ticks(low, high) if is_log else _linear_ticks(low, high, is_whole=is_whole)
    ticks = [(_share(value, low, high, is_log), setting(int(value) if is_whole else value)) for value in values]
    return Axis(name, tuple(ticks), low, high, is_log)


def metric_axis(name: str, low: float, high: float, *, maximize: bool) -> Axis:
    """The metric's axis. Better is always up."""
    bottom, top = (low, high) if maximize else (high, low)
    ticks = tuple((_share(value, bottom, top, False), score(value)) for value in _linear_ticks(low, high))
    return Axis(name, ticks, bottom, top)


def _share(value: float, low: float, high: float, is_log: bool) -> float:
    if low == high:
        return 0.5
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _log_ticks(low: float, high: float) -> list[float]:
    """Both ends and the powers of ten between them, plus multiples of 2 and 5 on a short axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    inner = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    return _uncrowded([value for value in inner if low < value < high], low, high, is_log=True)


def _linear_ticks(low: float, high: float, *, is_whole: bool = False) -> list[float]:
    """Both ends and round values between them."""
    if low == high:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    step = max(round(step), 1) if is_whole else step
    first = math.ceil(low / step)
    inner = [index * step for index in range(first, math.floor(high / step) + 1)]
    return _uncrowded([value for value in inner if low < value < high], low, high, is_log=False)


def _uncrowded(inner: list[float], low: float, high: float, *, is_log: bool) -> list[float]:
    if low == high:
        return [low]
    kept = [low]
    for value in inner:
        place = _share(value, low, high, is_log)
        if place - _share(kept[-1], low, high, is_log) >= _CROWDED and 1 - place >= _CROWDED:
            kept.append(value)
    return [*kept, high]

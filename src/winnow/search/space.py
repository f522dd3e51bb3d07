"""The search space, in Optuna's terms and back.

Optuna stores a categorical choice only where it is a plain value; lists and mappings are stored as JSON text and turned
back by looking them up, never by parsing, so that a choice that *is* text stays text.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from winnow.config.errors import InputError
from winnow.config.experiment import ChoiceParameter, FloatParameter, IntParameter

Space = Mapping[str, FloatParameter | IntParameter | ChoiceParameter]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every parameter.

    Raises:
        InputError: two choices of a parameter are stored alike.
    """
    return {name: _distribution(name, parameter) for name, parameter in space.items()}


def decode(space: Space, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The plain Python values of a trial's stored parameters."""
    return {name: _decoded(space[name], value) for name, value in stored.items() if name in space}


def _distribution(name: str, parameter: FloatParameter | IntParameter | ChoiceParameter) -> BaseDistribution:
    match parameter:
        case FloatParameter(bounds=(low, high)):
            step = parameter.step
            return FloatDistribution(low, high if step is None else _on_grid(low, high, step), parameter.log, step)
        case IntParameter(bounds=(low, high)):
            return IntDistribution(low, high - (high - low) % parameter.step, parameter.log, parameter.step)
        case ChoiceParameter():
            stored = [_encoded(choice) for choice in parameter.choices]
            # Keyed by type too, because Python takes 1, 1.0 and true for the same key.
            twice = [value for (_, value), n in Counter((type(v).__name__, v) for v in stored).items() if n > 1]
            if twice:
                raise InputError(
                    f"search.space.{name}.choice",
                    expected="choices that differ",
                    found=f"{twice[0]!r} twice",
                    remedy="Leave one of them out.",
                )
            return CategoricalDistribution(stored)


def _on_grid(low: float, high: float, step: float) -> float:
    """The last point of the grid that is not above `high`; a hair's breadth is rounding: 0.3 is three times 0.1."""
    return low + math.floor((high - low) / step + 1e-9) * step


def _encoded(choice: Any) -> Any:
    return json.dumps(choice, sort_keys=True) if isinstance(choice, list | tuple | dict) else choice


def _decoded(parameter: FloatParameter | IntParameter | ChoiceParameter, value: Any) -> Any:
    if not isinstance(parameter, ChoiceParameter):
        return value
    for choice in parameter.choices:
        encoded = _encoded(choice)
        if type(encoded) is type(value) and encoded == value:
            return choice
    return value

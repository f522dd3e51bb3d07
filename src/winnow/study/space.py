"""The search space, in Optuna's terms and back.

Optuna stores a categorical choice only where it is a plain value; lists and mappings are stored as JSON text and turned
back by looking them up, never by parsing, so that a choice that *is* text stays text.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from winnow.config.experiment import ChoiceParameter, FloatParameter, IntParameter

Space = Mapping[str, FloatParameter | IntParameter | ChoiceParameter]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every parameter."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def decode(space: Space, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The plain Python values of a trial's stored parameters."""
    return {name: _decoded(space[name], value) for name, value in stored.items() if name in space}


def _distribution(parameter: FloatParameter | IntParameter | ChoiceParameter) -> BaseDistribution:
    match parameter:
        case FloatParameter(bounds=(low, high)):
            step = parameter.step
            return FloatDistribution(low, high if step is None else _on_grid(low, high, step), parameter.log, step)
        case IntParameter(bounds=(low, high)):
            return IntDistribution(low, high - (high - low) % parameter.step, parameter.log, parameter.step)
        case ChoiceParameter():
            return CategoricalDistribution(parameter.stored())


def _on_grid(low: float, value: float, step: float) -> float:
    """The last point of the grid that is not above `value`, in decimals as they are written.

    Optuna reckons in them too: in binary three times 0.3 is less than 0.9, and the upper bound would be lost.
    """
    start, width = _decimal(low), _decimal(step)
    return float(start + (_decimal(value) - start) // width * width)


def _nearest_on_grid(low: float, value: float, step: float) -> float:
    """The point of the grid that Optuna, which multiplies in binary, came close to."""
    start, width = _decimal(low), _decimal(step)
    return float(start + round((_decimal(value) - start) / width) * width)


def _decimal(number: float) -> Decimal:
    return Decimal(str(number))


def _decoded(parameter: FloatParameter | IntParameter | ChoiceParameter, value: Any) -> Any:
    if isinstance(parameter, FloatParameter) and parameter.step is not None:
        return _nearest_on_grid(parameter.bounds[0], value, parameter.step)
    if not isinstance(parameter, ChoiceParameter):
        return value
    for choice, encoded in zip(parameter.choices, parameter.stored(), strict=True):
        if type(encoded) is type(value) and encoded == value:
            return choice
    return value

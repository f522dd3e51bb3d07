"""The search space in Optuna's terms and back, and what the next trial tries in it.

Optuna stores a categorical choice only where it is a plain value; lists and mappings are stored as JSON text and turned
back by looking them up, never by parsing, so that a choice that *is* text stays text.

The sampler is used through Optuna's own interface, but outside `study.ask`: a claim (`leases.py`) makes the trial and
stores its parameters. Every trial has a sampler of its own, seeded by the study's seed and the trial's number. No
worker draws what another drew, and a random search proposes the same trials whatever the number of workers. All trials
search one space, so that samplers need not infer it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from winnow.config.experiment import ChoiceParameter, FloatParameter, IntParameter
from winnow.study.optuna_tables import accepts

Space = Mapping[str, FloatParameter | IntParameter | ChoiceParameter]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every parameter."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def decode(space: Space, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The plain Python values of a trial's stored parameters."""
    return {name: _decoded(space[name], value) for name, value in stored.items() if name in space}


@dataclass(frozen=True)
class Proposer:
    """Proposes parameters for a study's trials.

    Attributes:
        space: the distribution of every parameter.
        seed: the study's seed.
    """

    space: Mapping[str, BaseDistribution]
    sampler: Literal["tpe", "random"]
    seed: int

    def propose(self, study: optuna.Study, trial: FrozenTrial, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters for `trial`, in the form in which Optuna gives them out; values that are `given` are kept."""
        chosen = _sampler(self.sampler, derive_seed(self.seed, trial.number))
        searched = {name: self.space[name] for name in sorted(self.space) if not self.space[name].single()}
        relative = chosen.sample_relative(study, trial, searched)
        proposed = {}
        for name, distribution in self.space.items():
            if name in given and accepts(distribution, given[name]):
                proposed[name] = given[name]
            elif distribution.single():
                proposed[name] = _only_value(distribution)
            elif name in relative:
                proposed[name] = relative[name]
            else:
                proposed[name] = chosen.sample_independent(study, trial, name, distribution)
        return proposed


def derive_seed(seed: int, number: int) -> int:
    """A 32-bit seed of its own for every trial: neighbours share nothing, unlike `seed + number`."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


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


def _sampler(name: Literal["tpe", "random"], seed: int) -> BaseSampler:
    return TPESampler(seed=seed) if name == "tpe" else RandomSampler(seed=seed)


def _only_value(distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution():
            return distribution.choices[0]
        case FloatDistribution() | IntDistribution():
            return distribution.low
        case _:
            raise TypeError(f"no single value in {distribution!r}")

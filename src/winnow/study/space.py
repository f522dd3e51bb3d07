"""The search space in Optuna's terms, and what the next trial tries.

Optuna stores only plain values as categorical choices. Lists and mappings are stored as JSON text and decoded by
looking them up, not by parsing, so that a choice that is text stays text.

A claim (`leases.py`) makes the trial and stores its parameters, so samplers are used outside `study.ask`. Each trial
has its own sampler, seeded by the study's seed and the trial's number: workers never repeat each other's draws, and a
random search proposes the same trials for any number of workers.
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
    """Proposes parameters for a study's trials."""

    space: Mapping[str, BaseDistribution]
    sampler: Literal["tpe", "random"]
    seed: int

    def propose(self, study: optuna.Study, trial: FrozenTrial, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters for `trial` in Optuna's external form; valid values that are `given` are kept."""
        seed = derive_seed(self.seed, trial.number)
        chosen: BaseSampler = TPESampler(seed=seed) if self.sampler == "tpe" else RandomSampler(seed=seed)
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
    """A 32-bit seed for a trial; unlike `seed + number`, the seeds of neighbouring studies do not overlap."""
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
    """The last grid point up to `value`, in decimal arithmetic like Optuna's: in binary, 3 × 0.3 is less than 0.9."""
    start, width = _decimal(low), _decimal(step)
    return float(start + (_decimal(value) - start) // width * width)


def _nearest_on_grid(low: float, value: float, step: float) -> float:
    """The grid point nearest to Optuna's value, which it multiplies in binary."""
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


def _only_value(distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution():
            return distribution.choices[0]
        case FloatDistribution() | IntDistribution():
            return distribution.low
        case _:
            raise TypeError(f"no single value in {distribution!r}")

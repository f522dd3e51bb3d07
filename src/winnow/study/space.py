"""The search space in Optuna's terms, and what the next trial tries.

Optuna stores only plain values as categorical choices. Lists and mappings are stored as JSON text and decoded by
looking them up, not by parsing, so that a choice that is text stays text.

A claim (`leases.py`) makes the trial and stores its parameters, so samplers are used outside `study.ask`. Each trial
has its own sampler, seeded by the study's seed and the trial's number: workers never repeat each other's draws, and a
random search proposes the same trials for any number of workers.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from winnow.config.conditions import in_order, is_active
from winnow.config.errors import InputError
from winnow.config.experiment import (
    ChoiceParameter,
    Experiment,
    FloatParameter,
    IntParameter,
    SamplerConfig,
    stored_choice,
)
from winnow.config.functions import line_in
from winnow.config.grid import points
from winnow.config.search import OWN_PRUNERS, OWN_SAMPLERS, SAMPLERS
from winnow.study.optuna_classes import make_pruner, make_sampler
from winnow.study.optuna_tables import accepts

Space = Mapping[str, FloatParameter | IntParameter | ChoiceParameter]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every parameter."""
    return {name: _distribution(parameter) for name, parameter in space.items()}


def decode(space: Space, stored: Mapping[str, Any]) -> dict[str, Any]:
    """The plain Python values of a trial's stored parameters."""
    return {name: _decoded(space[name], value) for name, value in stored.items() if name in space}


def check_search(experiment: Experiment) -> None:
    """Refuse a sampler or a pruner that cannot be made, or a sampler that fails at once. Raises InputError."""
    search = experiment.search
    if search.sampler.type not in OWN_SAMPLERS or search.sampler.options:
        make_sampler(search.sampler, search.seed)
        study = optuna.create_study()
        study.ask()
        Proposer(search.space, search.sampler, search.seed).propose(study, study.get_trials()[0], {})
    if search.pruner.type not in OWN_PRUNERS or search.pruner.options:
        make_pruner(search.pruner, experiment.cross_validation.folds)


@dataclass(frozen=True)
class Proposer:
    """Proposes parameters for a study's trials.

    Attributes:
        points: what the first trials try, in Optuna's external form; the sampler chooses what a point leaves out.
    """

    parameters: Space
    sampler: SamplerConfig
    seed: int
    points: Sequence[Mapping[str, Any]] = ()

    @functools.cached_property
    def space(self) -> Mapping[str, BaseDistribution]:
        """Optuna's distribution of every parameter, conditional ones after those that their conditions name."""
        found = distributions(self.parameters)
        return {name: found[name] for name in in_order(self.parameters)}

    @property
    def keeps_notes(self) -> bool:
        """Whether the sampler remembers what it knows in attributes of its trials and the study."""
        return self.sampler.type not in ("tpe", "random", "grid", "gp", "brute_force")

    def lacks(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial with these parameters lacks an active one."""
        return any(name not in params and is_active(parameter, params) for name, parameter in self.parameters.items())

    def of_trial(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """The distributions of a trial's parameters."""
        return {name: self.space[name] for name in params if name in self.space}

    def propose(self, study: optuna.Study, trial: FrozenTrial, given: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters for `trial` in Optuna's external form; valid values that are `given` are kept.

        Raises:
            InputError: a user's own sampler failed, or proposed a value outside the space.
        """
        point = self.points[trial.number] if 0 <= trial.number < len(self.points) else {}
        given = {**point, **given}
        if self.sampler.type == "grid":
            # The first point in the seed's order that agrees with what is given and that no other trial has.
            taken = {_key(one.params) for one in study.get_trials(deepcopy=False) if one.number != trial.number}
            agreeing = (p for p in self._grid if all(p[name] == value for name, value in given.items() if name in p))
            given = {**next((free for free in agreeing if _key(free) not in taken), {}), **given}
        try:
            return self._sampled(study, trial, given)
        except InputError:
            raise
        except Exception as error:
            if self.sampler.type in OWN_SAMPLERS and not self.sampler.options:
                raise
            raise InputError(
                "search.sampler",
                expected=f"that {self.sampler.type} proposes parameters for trial {trial.number}",
                found=f"{type(error).__name__}: {error}{line_in(None, error)}",
                remedy="Correct it or its options, or choose another sampler.",
            ) from error

    def _sampled(self, study: optuna.Study, trial: FrozenTrial, given: Mapping[str, Any]) -> dict[str, Any]:
        chosen = self._sampler(trial.number)
        is_plain = self.sampler.type in ("tpe", "random", "grid")
        if not is_plain:
            trial = copy.copy(trial)
            chosen.before_trial(study, trial)
        relative = chosen.sample_relative(study, trial, self._relative_space(chosen, study, trial))
        proposed: dict[str, Any] = {}
        for name, distribution in self.space.items():
            if not is_active(self.parameters[name], proposed):
                continue
            if name in given and accepts(distribution, given[name]):
                proposed[name] = given[name]
            elif distribution.single():
                proposed[name] = _only_value(distribution)
            elif name in relative:
                proposed[name] = relative[name]
            else:
                if not is_plain:
                    trial.params, trial.distributions = dict(proposed), self.of_trial(proposed)
                proposed[name] = chosen.sample_independent(study, trial, name, distribution)
            if not is_plain and not accepts(distribution, proposed[name]):
                raise ValueError(f"{proposed[name]!r} for {name}, which is outside the space")
        return proposed

    def _sampler(self, number: int) -> BaseSampler:
        if self.sampler.type == "tpe" and not self.sampler.options:
            return TPESampler(seed=derive_seed(self.seed, number))
        if self.sampler.type in ("random", "grid"):
            return RandomSampler(seed=derive_seed(self.seed, number))
        # The points of a sequence differ from each other only under one seed.
        return make_sampler(self.sampler, self.seed if self.sampler.type == "qmc" else derive_seed(self.seed, number))

    def _relative_space(
        self, chosen: BaseSampler, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The parameters that are chosen together: those that every trial has.

        A user's sampler and TPE with `group` say it themselves; inferring it from the trials takes longer for each.
        """
        if (self.sampler.type not in SAMPLERS and self.sampler.type != "grid") or self.sampler.options.get("group"):
            return chosen.infer_relative_search_space(study, trial)
        if self.sampler.type == "tpe" and self.sampler.options.get("multivariate") is False:
            return {}
        return {
            name: self.space[name]
            for name in sorted(self.space)
            if not self.space[name].single()
            and not self.parameters[name].when
            and not (self.sampler.type == "cmaes" and isinstance(self.space[name], CategoricalDistribution))
        }

    @functools.cached_property
    def _grid(self) -> list[dict[str, Any]]:
        """All points in Optuna's external form, in an order that the seed decides."""
        stored = [{name: stored_choice(value) for name, value in point.items()} for point in points(self.parameters)]
        random.Random(self.seed).shuffle(stored)
        return stored


def _key(params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """A point by its values: floats that differ by rounding are equal, `true` and 1 are not."""
    return tuple(
        sorted((name, f"{value:.12g}" if type(value) is float else repr(value)) for name, value in params.items())
    )


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

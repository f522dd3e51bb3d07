"""What the next trial tries.

The sampler is asked through Optuna's own interface, but outside `study.ask`: the trial was made by a claim
(`leases.py`), and what is proposed is stored by a write that is refused once the claim has passed to another.

Every trial has a sampler of its own, seeded by the study's seed and the trial's number: no worker draws what another
drew, and a random search proposes the same trials whatever the number of workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from winnow.study.optuna_tables import accepts


def propose(
    study: optuna.Study,
    trial: FrozenTrial,
    space: Mapping[str, BaseDistribution],
    *,
    sampler: Literal["tpe", "random"],
    seed: int,
) -> dict[str, Any]:
    """Parameters for `trial`, in the form in which Optuna gives them out.

    Values that were enqueued for the trial (`study.enqueue_trial`) are kept.
    """
    chosen = _sampler(sampler, derive_seed(seed, trial.number))
    fixed = trial.system_attrs.get("fixed_params", {})
    searched = {name: distribution for name, distribution in space.items() if not distribution.single()}
    relative_space = chosen.infer_relative_search_space(study, trial)
    together = {name: searched[name] for name in sorted(relative_space) if name in searched}
    relative = chosen.sample_relative(study, trial, together) if together else {}
    proposed = {}
    for name, distribution in space.items():
        if name in fixed and accepts(distribution, fixed[name]):
            proposed[name] = fixed[name]
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

"""The samplers and pruners that an experiment file can name, and what ends a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from winnow.config.conditions import Parameter
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.functions import FORMS, names_function
from winnow.config.grid import MOST_POINTS, finite_values, size
from winnow.config.nearest import did_you_mean

SAMPLERS: Mapping[str, str] = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "brute_force": "BruteForceSampler",
}
"""Optuna's class for each name."""

PRUNERS: Mapping[str, str] = {
    "median": "MedianPruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "percentile": "PercentilePruner",
    "patient": "PatientPruner",
    "threshold": "ThresholdPruner",
    "wilcoxon": "WilcoxonPruner",
}
"""Optuna's class for each name."""

OWN_SAMPLERS = frozenset({"tpe", "random", "grid"})
"""Samplers that are known to work without options."""

OWN_PRUNERS = frozenset({"auto", "off", "racing", "median"})
"""winnow's pruners; `median` with options is Optuna's."""

_BY_FOLD_ALONE = frozenset({"auto", "off", "racing", "wilcoxon"})
"""Pruners that have no meaning for the epochs of a fold."""


Ending = Literal["trials", "grid", "time", "failures"]

ENDINGS: Mapping[Ending, str] = {
    "trials": "all its trials are done",
    "grid": "all points of the grid are tried",
    "time": "its time is spent (search.budget.time)",
    "failures": "its failed trials are spent (search.budget.failures)",
}
"""What has ended a study, in words."""


def faults_in_search(experiment: Experiment) -> Iterator[InputError]:
    """The faults in the sampler and the pruner that the file alone shows, each with its key as the place."""
    search = experiment.search
    for place, kind, known in (
        ("search.sampler", search.sampler.type, {*SAMPLERS, "grid"}),
        ("search.pruner", search.pruner.type, {*PRUNERS, *OWN_PRUNERS}),
    ):
        if kind not in known and not names_function(kind):
            yield InputError(
                f"{place}.type",
                expected=f"one of {', '.join(sorted(known))}, or {FORMS.replace('function', 'Class')}",
                found=repr(kind),
                remedy=did_you_mean(kind, known) or "Name one of these.",
            )
    if search.pruner.every == "epoch" and search.pruner.type in _BY_FOLD_ALONE:
        yield InputError(
            "search.pruner.type",
            expected="a pruner that compares trials after each epoch, such as median or hyperband",
            found=f"{search.pruner.type!r} with every: epoch",
            remedy="Name one of them, or remove search.pruner.every.",
        )
    if search.pruner.type in OWN_PRUNERS - {"median"}:
        yield from _unknown("search.pruner", search.pruner.type, search.pruner.options, ("type", "threshold"))
    if search.sampler.type == "grid":
        yield from _unknown("search.sampler", "grid", search.sampler.options, ("type",))
        yield from _faults_in_grid(search.space)


def _unknown(place: str, kind: str, options: Mapping[str, object], known: tuple[str, ...]) -> Iterator[InputError]:
    for name in options:
        yield InputError(
            f"{place}.{name}",
            expected=f"one of {', '.join(known)} for {kind}",
            found=repr(name),
            remedy=did_you_mean(name, known) or "Leave it out.",
        )


def _faults_in_grid(space: Mapping[str, Parameter]) -> Iterator[InputError]:
    endless = [name for name, parameter in space.items() if finite_values(parameter) is None]
    for name in endless:
        yield InputError(
            f"search.space.{name}",
            expected="finitely many values, which the sampler grid tries all",
            found="a range of real numbers",
            remedy=f"Write a step, or list values: `{name}: {{choice: […]}}`.",
        )
    if not endless and size(space, MOST_POINTS + 1) > MOST_POINTS:
        yield InputError(
            "search.sampler",
            expected=f"a grid of at most {MOST_POINTS} points",
            found="more",
            remedy="Make steps larger, or choose another sampler and set search.trials.",
        )

"""Optuna's samplers and pruners, or a user's own, by the name and the options in an experiment file."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from winnow.config.errors import InputError
from winnow.config.experiment import PrunerConfig, SamplerConfig
from winnow.config.functions import load_function
from winnow.config.nearest import did_you_mean
from winnow.config.search import PRUNERS, SAMPLERS

_PACKAGES = {"cmaes": ("cmaes",), "gp": ("scipy", "torch"), "qmc": ("scipy",), "wilcoxon": ("scipy",)}
"""What samplers and pruners need beside Optuna's own requirements."""


def make_sampler(config: SamplerConfig, seed: int) -> BaseSampler:
    """A sampler with its options. Raises InputError."""
    cls = _class(config.type, SAMPLERS, BaseSampler, "search.sampler")
    seeded = {"seed": seed} if "seed" in _options_of(cls) else {}
    made: BaseSampler = _made(cls, config.options, seeded, "search.sampler")
    return made


def make_pruner(config: PrunerConfig, folds: int) -> BasePruner:
    """A pruner with its options; a step is a fold, so that halving begins after the first one. Raises InputError."""
    cls = _class(config.type, PRUNERS, BasePruner, "search.pruner")
    options = config.options
    if config.type == "patient" and isinstance(options.get("wrapped_pruner"), str | dict):
        wrapped = PrunerConfig.model_validate(_as_mapping(options["wrapped_pruner"]))
        options["wrapped_pruner"] = make_pruner(wrapped, folds)
    if config.type == "patient":
        options.setdefault("wrapped_pruner", None)
    defaults: dict[str, dict[str, Any]] = {
        "hyperband": {"min_resource": 1, "max_resource": folds},
        "successive_halving": {"min_resource": 1},
        "percentile": {"percentile": 50.0},
    }
    missing = {name: value for name, value in defaults.get(config.type, {}).items() if name not in options}
    made: BasePruner = _made(cls, options, missing, "search.pruner")
    return made


def _as_mapping(value: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": value} if isinstance(value, str) else value


def _class(name: str, known: Mapping[str, str], base: type, place: str) -> type:
    if name not in known:
        cls = load_function(name, f"{place}.type")
        if not isinstance(cls, type) or not issubclass(cls, base):
            raise InputError(
                f"{place}.type",
                expected=f"a subclass of optuna's {base.__name__}",
                found=f"{name}, a {'class' if isinstance(cls, type) else type(cls).__name__} that is none",
                remedy=f"Derive it from {base.__module__.rpartition('.')[0]}.{base.__name__}.",
            )
        return cls
    missing = [package for package in _PACKAGES.get(name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"{place}.type",
            expected=f"the package {' and '.join(missing)}, which {name} needs",
            found="that it is not installed",
            remedy=f"Run `pip install {' '.join(missing)}`, also in the image of remote workers, or choose another.",
        )
    module = optuna.samplers if base is BaseSampler else optuna.pruners
    cls = getattr(module, known[name])
    assert isinstance(cls, type), "Optuna has a class of that name"
    return cls


@functools.cache
def _options_of(cls: type) -> tuple[str, ...]:
    """The names of a class's options; empty where it takes any."""
    kinds = inspect.Parameter
    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters):
        return ()
    return tuple(one.name for one in parameters if one.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY))


def _made(cls: type, options: Mapping[str, Any], given: Mapping[str, Any], place: str) -> Any:
    """An instance with the file's options, and with what winnow gives. Raises InputError."""
    known = _options_of(cls)
    for name in options:
        if name == "seed":
            raise InputError(
                f"{place}.seed",
                expected="one seed for the study, in search.seed",
                found=f"{options[name]!r}",
                remedy="Move it to search.seed.",
            )
        if known and name not in known:
            listed = ", ".join(sorted(set(known) - {"seed"})) or "none"
            raise InputError(
                f"{place}.{name}",
                expected=f"an option of {cls.__name__}",
                found=repr(name),
                remedy=f"{did_you_mean(name, known)} It takes: {listed}.".lstrip(),
            )
    try:
        with warnings.catch_warnings():
            # The user has asked for them, and each trial makes its own.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return cls(**options, **given)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            place,
            expected=f"options with which {cls.__name__} can be made",
            found=f"{dict(options)} ({type(error).__name__}: {error})",
            remedy="Correct the options.",
        ) from error

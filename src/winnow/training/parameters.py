"""Route a trial's parameters to the model's factory, the optimizer, the scheduler, the loss or the training settings.

A name goes to the one place that takes it. A name that two places take must be qualified (`model.lr`, `optimizer.lr`).
A factory with `**kwargs` takes every name that no other place takes. A value from the space replaces the one in the
file. Where the optimizer is a choice, all the choices' settings may be searched; a trial drops those that its own
optimizer lacks. With a condition on the optimizer, each of the optimizers that it names must have the setting.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, get_args

from winnow.config.conditions import are_exclusive
from winnow.config.errors import InputError
from winnow.config.experiment import ChoiceParameter, Experiment, TrainingConfig, When
from winnow.config.nearest import did_you_mean
from winnow.config.space import SEARCHED
from winnow.training.losses import loss_settings
from winnow.training.optimization import optimizer_settings, scheduler_settings

Place = Literal["model", "optimizer", "scheduler", "loss", "training"]

OPTIMIZER_NAMES = frozenset({"optimizer", "training.optimizer"})
"""The names under which a space may hold the optimizer."""

FIXED: Mapping[str, str] = {
    "precision": "a process keeps one precision for life, so it is fixed per study",
    "accumulation": "it is fixed per study, like the precision",
    "early_stopping": "trials that stop by different rules would not be compared on the same terms",
    "loss": "trials that minimize different losses would not be compared on the same scale",
    "class_weights": "they are part of the loss, which is fixed per study",
    "scheduler": "the settings of another scheduler are not the same settings; search those of one scheduler",
    "curves": "they record a training and change nothing in it",
    "loop": "it is the code that trains, and every parameter goes to it",
}
"""Settings of `training` that a space may not hold, each with the reason."""


@dataclass(frozen=True)
class Takers:
    """The names that each place takes.

    Attributes:
        model_takes_rest: the factory has `**kwargs`.
        loop_takes_all: a custom training function gets every parameter unchanged.
        by_optimizer: the settings of each optimizer that trials may have, by the name in the space.
    """

    training: frozenset[str] = SEARCHED
    optimizer: frozenset[str] = frozenset()
    scheduler: frozenset[str] = frozenset()
    loss: frozenset[str] = frozenset()
    model: frozenset[str] = frozenset()
    model_takes_rest: bool = False
    loop_takes_all: bool = False
    by_optimizer: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def takes(self, place: Place, setting: str) -> bool:
        """Whether a place has a setting of that name."""
        named: frozenset[str] = getattr(self, place)
        return setting in named or (place == "model" and self.model_takes_rest)


@dataclass(frozen=True)
class Slot:
    """Where a parameter goes: a place and the name of the setting there."""

    place: Place
    setting: str


@dataclass(frozen=True)
class TrialSettings:
    """A trial's settings: the factory's arguments, and the training with its optimizer and scheduler."""

    model: Mapping[str, Any]
    training: TrainingConfig


@dataclass(frozen=True)
class Routing:
    """The slot of every name of the space; empty where a custom training function takes them all."""

    slots: Mapping[str, Slot]

    def settings(
        self, params: Mapping[str, Any], options: Mapping[str, Any], training: TrainingConfig
    ) -> TrialSettings:
        """Apply one trial's parameters over the values in the file.

        Raises:
            pydantic.ValidationError: a value is not one that `training` takes (epochs of 0, say).
        """
        dealt: dict[Place, dict[str, Any]] = {place: {} for place in get_args(Place)}
        for name, value in params.items():
            if name in self.slots:
                slot = self.slots[name]
                dealt[slot.place][slot.setting] = value
        whole = {**training.model_dump(), **dealt["training"]}
        chosen = dealt["training"].get("optimizer")
        file = training.optimizer.model_dump()
        whole["optimizer"] = {**file, **({"type": chosen} if chosen is not None else {}), **dealt["optimizer"]}
        whole["loss"] = {**training.loss.model_dump(), **dealt["loss"]}
        if training.scheduler is not None:
            whole["scheduler"] = {**training.scheduler.model_dump(), **dealt["scheduler"]}
        return TrialSettings({**options, **dealt["model"]}, TrainingConfig.model_validate(whole))


def route(names: Iterable[str], takers: Takers, conditions: Mapping[str, When] = {}) -> Routing:
    """Find the one place of every name of the space.

    Args:
        conditions: the conditions of names. Two names may mean the same setting if no trial has both, as with `lr` for
            one optimizer and `optimizer.lr` for another.

    Raises:
        InputError: nothing takes a name, two places do, a study fixes it, or two names mean the same setting.
    """
    if takers.loop_takes_all:
        return Routing({})
    slots: dict[str, Slot] = {}
    for name in names:
        slot, when = _slot(name, takers), conditions.get(name) or {}
        if slot.place == "optimizer":
            _check_condition(name, slot.setting, when, takers)
        twins = (other for other, taken in slots.items() if taken == slot)
        twin = next((other for other in twins if not are_exclusive(when, conditions.get(other) or {})), None)
        if twin is not None:
            raise InputError(
                f"search.space.{name}",
                expected="every setting once",
                found=f"{twin!r} and {name!r}, which both are {slot.place}.{slot.setting}",
                remedy="Leave one of them out.",
            )
        slots[name] = slot
    return Routing(slots)


def _check_condition(name: str, setting: str, when: Mapping[str, Sequence[Any]], takers: Takers) -> None:
    """Refuse a condition that names an optimizer without the setting. Raises InputError."""
    for parent in OPTIMIZER_NAMES & when.keys():
        for optimizer in when[parent]:
            if setting not in takers.by_optimizer.get(optimizer, frozenset({setting})):
                having = [other for other, settings in takers.by_optimizer.items() if setting in settings]
                raise InputError(
                    f"search.space.{name}.when.{parent}",
                    expected=f"optimizers that have the setting {setting}: {', '.join(having)}",
                    found=repr(optimizer),
                    remedy="Correct the condition, or the parameter's name.",
                )


def takers_of(experiment: Experiment, factory: Callable[..., Any]) -> Takers:
    """What takes parameters in this experiment. Raises InputError if there is no such optimizer or scheduler."""
    training = experiment.training
    if training.loop is not None:
        return Takers(loop_takes_all=True)
    names, takes_rest = factory_takes(factory)
    by_optimizer = {
        optimizer: optimizer_settings(optimizer, place) for optimizer, place in _named_optimizers(experiment)
    }
    settings = frozenset[str]().union(*by_optimizer.values())
    scheduler = scheduler_settings(training.scheduler.type) if training.scheduler is not None else frozenset[str]()
    return Takers(
        optimizer=settings,
        scheduler=scheduler,
        loss=loss_settings(training.loss),
        model=names,
        model_takes_rest=takes_rest,
        by_optimizer=by_optimizer,
    )


def possible_optimizers(experiment: Experiment) -> list[str]:
    """The optimizers that trials may have: the file's, or the space's choices.

    Raises:
        InputError: the space holds `optimizer` as something else than a choice of names.
    """
    return [optimizer for optimizer, _ in _named_optimizers(experiment)]


def _named_optimizers(experiment: Experiment) -> list[tuple[str, str]]:
    """The same, each with the key that names it."""
    space = experiment.search.space
    name = next((name for name in sorted(OPTIMIZER_NAMES) if name in space), None)
    if name is None:
        return [(experiment.training.optimizer.type, "training.optimizer.type")]
    parameter = space[name]
    choices = parameter.choices if isinstance(parameter, ChoiceParameter) else ()
    if not choices or not all(isinstance(choice, str) for choice in choices):
        raise InputError(
            f"search.space.{name}",
            expected="a choice of names of optimizers",
            found=repr(parameter.model_dump(by_alias=True)),
            remedy=f"Write for example {name}: {{choice: [adamw, sgd]}}.",
        )
    return [(choice, f"search.space.{name}.choice[{index}]") for index, choice in enumerate(choices)]


def factory_takes(factory: Any) -> tuple[frozenset[str], bool]:
    """The names that a model factory takes beside `input_shape` and `outputs`, and whether it takes any other."""
    kinds = inspect.Parameter
    parameters = list(inspect.signature(factory).parameters.values())
    free = [p for p in parameters[2:] if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
    return frozenset(p.name for p in free), any(p.kind is kinds.VAR_KEYWORD for p in parameters)


def _slot(name: str, takers: Takers) -> Slot:
    place, dot, setting = name.partition(".")
    if dot:
        if place == "training" and setting in FIXED:
            _refuse_fixed(name, setting)
        for known in get_args(Place):
            if place == known and takers.takes(known, setting):
                return Slot(known, setting)
        _refuse_unknown(name, takers)
    named = [place for place in get_args(Place) if name in getattr(takers, place)]
    if name in FIXED and not named:
        _refuse_fixed(name, name)
    if name in FIXED:
        named.append("training")
    if len(named) > 1:
        raise InputError(
            f"search.space.{name}",
            expected="a name that one place takes",
            found=f"{name!r}, which {' and '.join(_described(place) for place in named)} take",
            remedy=f"Write {' or '.join(f'{place}.{name}' for place in named)} instead.",
        )
    if named:
        return Slot(named[0], name)
    if takers.model_takes_rest:
        return Slot("model", name)
    _refuse_unknown(name, takers)


def _refuse_fixed(name: str, setting: str) -> NoReturn:
    raise InputError(
        f"search.space.{name}",
        expected="a setting that may differ between trials",
        found=f"{setting!r}: {FIXED[setting]}",
        remedy=f"Set training.{setting} in the experiment file; to compare values, make a study of each.",
    )


def _refuse_unknown(name: str, takers: Takers) -> NoReturn:
    bare = {setting for place in get_args(Place) for setting in getattr(takers, place)}
    qualified = {f"{place}.{setting}" for place in get_args(Place) for setting in getattr(takers, place)}
    hint = did_you_mean(name, sorted(qualified if "." in name else bare))
    raise InputError(
        f"search.space.{name}",
        expected="the name of an argument of the model's factory, or of a setting of training, optimizer or scheduler",
        found=f"{name!r}, which nothing takes",
        remedy=f"{hint} Known names: {', '.join(sorted(bare))}.".lstrip(),
    )


def _described(place: str) -> str:
    return {"model": "the model's factory", "training": "training"}.get(place, f"the {place}")

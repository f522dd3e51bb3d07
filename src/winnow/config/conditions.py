"""Conditional parameters: which of a space are active, given the values of the others.

A parameter with `when: {optimizer: [sgd]}` is active where each parameter named there is active and has one of the
values. Parameters that are not active are absent from a trial.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winnow.config.errors import InputError
from winnow.config.experiment import ChoiceParameter, FloatParameter, IntParameter, stored_choice
from winnow.config.nearest import did_you_mean

Parameter = FloatParameter | IntParameter | ChoiceParameter


def in_order(space: Mapping[str, Parameter]) -> tuple[str, ...]:
    """The names of a space, each after those that its condition names, otherwise as written."""
    placed: dict[str, None] = {}

    def place(name: str) -> None:
        if name not in placed:
            for parent in space[name].when or {}:
                place(parent)
            placed[name] = None

    for name in space:
        place(name)
    return tuple(placed)


def is_active(parameter: Parameter, values: Mapping[str, Any]) -> bool:
    """Whether a parameter's condition holds.

    Args:
        values: those of the active parameters before it, as in the file or as Optuna stores them.
    """
    return all(name in values and _is_among(values[name], asked) for name, asked in (parameter.when or {}).items())


def active_values(space: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the active parameters, in the order of the space."""
    kept: dict[str, Any] = {}
    for name in in_order(space):
        if name in values and is_active(space[name], kept):
            kept[name] = values[name]
    return {name: kept[name] for name in space if name in kept}


def activating(space: Mapping[str, Parameter], name: str) -> dict[str, Any]:
    """Values of other parameters with which a parameter is active; contradicting conditions are not noticed."""
    found: dict[str, Any] = {}
    for parent, asked in (space[name].when or {}).items():
        found = {**activating(space, parent), **found, parent: asked[0]}
    return found


def are_exclusive(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    """Whether two conditions cannot both hold, because they name different values of one parameter."""
    shared = one.keys() & other.keys()
    return any(not any(_is_among(value, other[name]) for value in one[name]) for name in shared)


def faults_in_conditions(space: Mapping[str, Parameter]) -> Iterator[InputError]:
    """The faults in the conditions of a space, each with its key as the place."""
    try:
        graphlib.TopologicalSorter({name: tuple(each.when or {}) for name, each in space.items()}).prepare()
    except graphlib.CycleError as error:
        circle = error.args[1][::-1]
        yield InputError(
            f"search.space.{circle[0]}.when",
            expected="conditions that do not lead back to their own parameter",
            found=" → ".join(circle),
            remedy="Leave one of these conditions out.",
        )
        return
    for name, parameter in space.items():
        for parent, asked in (parameter.when or {}).items():
            yield from _faults_in_condition(space, name, parent, asked)


def _faults_in_condition(
    space: Mapping[str, Parameter], name: str, parent: str, asked: Sequence[Any]
) -> Iterator[InputError]:
    place = f"search.space.{name}.when.{parent}"
    if parent not in space:
        yield InputError(
            place,
            expected="the name of another parameter of the space",
            found=f"'{parent}', which is not in the space",
            remedy=did_you_mean(parent, [other for other in space if other != name])
            or "Add it to the space, or leave the condition out.",
        )
        return
    if not asked:
        yield InputError(
            place, expected="a value, or a list of them", found="an empty list", remedy="Name a value, or leave it out."
        )
    for value in asked:
        if not takes(space[parent], value):
            yield InputError(
                place,
                expected=f"a value that {parent} takes: {_described(space[parent])}",
                found=repr(value),
                remedy=_hint(space[parent], value, asked),
            )


def takes(parameter: Parameter, value: Any) -> bool:
    """Whether a parameter can have exactly this value."""
    if isinstance(parameter, ChoiceParameter):
        return _is_among(value, parameter.choices)
    (low, high), step = parameter.bounds, parameter.step
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return False
    if isinstance(parameter, IntParameter):
        return isinstance(value, int) and (value - low) % parameter.step == 0
    return step is not None and abs((value - low) / step - round((value - low) / step)) < 1e-9


def _is_among(value: Any, asked: Sequence[Any]) -> bool:
    """Whether a value is one of a list. `true` is not 1, and a list equals its JSON text, as Optuna stores it."""
    stored = stored_choice(value)
    return any(
        stored == other and isinstance(stored, bool) == isinstance(other, bool) for other in map(stored_choice, asked)
    )


def _described(parameter: Parameter) -> str:
    if isinstance(parameter, ChoiceParameter):
        return ", ".join(map(repr, parameter.choices))
    low, high = parameter.bounds
    if isinstance(parameter, FloatParameter) and parameter.step is None:
        return "none, because it is a range of real numbers without a step"
    return f"{low:g} to {high:g}" + (f" in steps of {parameter.step:g}" if parameter.step not in (None, 1) else "")


def _hint(parameter: Parameter, value: Any, asked: Sequence[Any]) -> str:
    if isinstance(parameter, ChoiceParameter):
        if _is_among(asked, parameter.choices):
            return f"A list means one of its values: for the list itself, write [{list(asked)}]."
        texts = [choice for choice in parameter.choices if isinstance(choice, str)]
        return did_you_mean(str(value), texts) or "Name one of the choices."
    return "Name a value of the range."

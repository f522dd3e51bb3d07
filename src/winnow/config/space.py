"""Check a search space by the experiment file alone.

These checks are not in the types of `experiment`, so that studies of older versions can still be read.
`training.preflight` checks what needs the factory or the optimizer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

import pydantic

from winnow.config.conditions import Parameter, faults_in_conditions
from winnow.config.errors import InputError
from winnow.config.experiment import ChoiceParameter, Experiment, FloatParameter, IntParameter, TrainingConfig
from winnow.config.names import LONGEST_PARAMETER, is_recordable, recorded_name, shown_text

SEARCHED = frozenset({"epochs", "batch_size", "clip_norm", "optimizer"})
"""Settings of `training` that can be in a space."""

MOST_EXACT = 2**53
"""Optuna stores whole numbers as doubles, which are exact up to this one."""


def faults_in_space(experiment: Experiment) -> Iterator[InputError]:
    """The faults in the space, each with its key as the place."""
    space = experiment.search.space
    yield from _faults_in_names(list(space))
    yield from faults_in_conditions(space)
    for name, parameter in space.items():
        place = f"search.space.{name}"
        match parameter:
            case ChoiceParameter():
                yield from _faults_in_choices(place, parameter)
            case _:
                yield from _faults_in_bounds(place, parameter)
    # The user's own training function gets all parameters unchanged.
    if experiment.training.loop is None:
        yield from _faults_in_training(space)


def _faults_in_names(names: list[str]) -> Iterator[InputError]:
    recorded: dict[str, str] = {}
    for name in names:
        place = f"search.space.{name}"
        if not is_recordable(name):
            yield InputError(
                place,
                expected=f"a name of 1 to {LONGEST_PARAMETER} characters, no path such as '/x', 'a//b', 'x/' or '..'",
                found=shown_text(name),
                remedy="Rename the parameter; MLflow records it under its name.",
            )
            continue
        other = recorded.setdefault(recorded_name(name), name)
        if other != name:
            yield InputError(
                place,
                expected="names that differ in letters, digits, '_', '-', '.', '/' or spaces",
                found=f"'{other}' and '{name}', which MLflow both records as '{recorded_name(name)}'",
                remedy="Rename one of them.",
            )


def _faults_in_bounds(place: str, parameter: FloatParameter | IntParameter) -> Iterator[InputError]:
    (low, high), step = parameter.bounds, parameter.step
    if isinstance(parameter, IntParameter) and max(abs(low), abs(high)) > MOST_EXACT:
        yield InputError(
            f"{place}.int",
            expected=f"bounds between -{MOST_EXACT} and {MOST_EXACT}, within which whole numbers are kept exactly",
            found=_shortened(f"[{low}, {high}]"),
            remedy="Narrow the bounds, or search the exponent and raise it in your factory.",
        )
        return
    width = high - low
    if not math.isfinite(width):
        yield InputError(
            f"{place}.float",
            expected="bounds whose difference is a finite number",
            found=f"[{low}, {high}]",
            remedy="Narrow the bounds.",
        )
    elif step is None or parameter.log:
        return
    elif step > width > 0:
        yield InputError(
            f"{place}.step",
            expected=f"at most {width:g}, the width of the range",
            found=f"{step:g}, with which only {low:g} is ever tried",
            remedy="Make the step smaller, or leave it out.",
        )
    elif width / step > MOST_EXACT:
        yield InputError(
            f"{place}.step",
            expected=f"a step that divides the range into at most {MOST_EXACT} parts",
            found=f"{step:g}",
            remedy="Make the step larger, or leave it out.",
        )


def _faults_in_choices(place: str, parameter: ChoiceParameter) -> Iterator[InputError]:
    seen: dict[object, object] = {}
    for choice, stored in zip(parameter.choices, parameter.stored(), strict=True):
        if isinstance(choice, int) and abs(choice) > MOST_EXACT:
            yield InputError(
                f"{place}.choice",
                expected=f"whole numbers between -{MOST_EXACT} and {MOST_EXACT}",
                found=_shortened(str(choice)),
                remedy="Write it in quotes and convert it in your factory.",
            )
        elif stored in seen:
            yield InputError(
                f"{place}.choice",
                expected="choices that differ (1, 1.0 and true are equal, and a list equals its JSON text)",
                found=f"{json.dumps(seen[stored])} and {json.dumps(choice)}",
                remedy="Leave one of them out.",
            )
        seen.setdefault(stored, choice)


def _faults_in_training(space: Mapping[str, Parameter]) -> Iterator[InputError]:
    for name, parameter in space.items():
        setting = name.removeprefix("training.")
        if setting not in SEARCHED:
            continue
        if isinstance(parameter, FloatParameter) and TrainingConfig.model_fields[setting].annotation is int:
            yield float_for_whole_numbers(name, parameter)
            continue
        for value in parameter.choices if isinstance(parameter, ChoiceParameter) else parameter.bounds:
            refusal = _refusal(setting, value)
            if refusal is not None:
                yield InputError(
                    f"search.space.{name}",
                    expected=f"values that training.{setting} takes ({refusal})",
                    found=json.dumps(value),
                    remedy="Change the bounds or the choices.",
                )
                break


def float_for_whole_numbers(name: str, parameter: FloatParameter) -> InputError:
    """The error for a range of real numbers for a setting that needs whole ones."""
    low, high = (math.floor(bound) for bound in parameter.bounds)
    return InputError(
        f"search.space.{name}.float",
        expected=f"whole numbers for {name}",
        found=f"a range of real numbers, [{parameter.bounds[0]:g}, {parameter.bounds[1]:g}]",
        remedy=f"Write `{name}: {{int: [{low}, {high}]}}`.",
    )


def _refusal(setting: str, value: object) -> str | None:
    """Why `training` refuses a value; None if it accepts it."""
    try:
        TrainingConfig.model_validate_json(json.dumps({setting: value}), strict=True)
    except pydantic.ValidationError as error:
        return error.errors(include_url=False)[0]["msg"].removeprefix("Input should be ")
    return None


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"

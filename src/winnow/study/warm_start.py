"""Points to try first: by hand, from a CSV file, or the best ones of another study.

They are evaluated on the study's own data and count among its trials. All functions raise InputError for a point
outside the space, with its row.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.config.conditions import Parameter, active_values
from winnow.config.errors import InputError
from winnow.config.experiment import ChoiceParameter, IntParameter, stored_choice
from winnow.config.nearest import did_you_mean
from winnow.study.optuna_tables import Goal, accepts
from winnow.study.space import Space, distributions
from winnow.tracking.records import TrialRecord

Point = dict[str, Any]
"""Parameters of a trial, or some of them, in the form in which Optuna gives them out."""

_PLACE = "search.warm_start"
_PREFIXES = ("", "params_", "params.", "param.")
"""A file's columns as written by hand, by Optuna and by MLflow."""

_STATES = {"state": ("COMPLETE", "complete"), "status": ("FINISHED",), "tags.winnow.state": ("complete",)}
"""Columns that say whether a row's trial has completed, and the values that say so."""


def points_by_hand(space: Space, points: Sequence[Mapping[str, Any]], trials: int) -> tuple[Point, ...]:
    """The points of the experiment file."""
    if len(points) > trials:
        raise InputError(
            f"{_PLACE}.points",
            expected=f"at most {trials} points, the number of trials",
            found=str(len(points)),
            remedy="Raise search.trials, or leave points out.",
        )
    return tuple(_by_hand(space, point, f"{_PLACE}.points[{index}]") for index, point in enumerate(points))


def points_of_file(space: Space, path: Path, most: int, metric: str, goal: Goal) -> tuple[Point, ...]:
    """The rows of a CSV file; the best ones of those with a value, if there is a column of values."""
    header, rows = _read(path)
    columns = {name: column for name in space for prefix in _PREFIXES if (column := f"{prefix}{name}") in header}
    if not columns:
        raise InputError(
            f"{_PLACE}.csv",
            expected=f"columns named after parameters: {', '.join(space)} (also params_NAME or params.NAME)",
            found=f"{path} with {', '.join(header) or 'no columns'}",
            remedy="Name the columns after the parameters.",
        )
    rows = [(place, row) for place, row in rows if _is_complete(row) and any(row[each] for each in columns.values())]
    valued = next((name for name in ("value", f"metrics.{metric}", metric) if name in header), None)
    if valued is not None:
        sign = -1.0 if goal == "maximize" else 1.0
        known = [(sign * value, place, row) for place, row in rows if math.isfinite(value := _number(row[valued]))]
        rows = [(place, row) for _, place, row in sorted(known, key=lambda each: each[0])]
    found = (
        _of_texts(space, {name: row[column] for name, column in columns.items() if row[column]}, place)
        for place, row in rows
    )
    points = _distinct(found, most)
    if not points:
        raise InputError(f"{_PLACE}.csv", expected="rows of points", found=f"none in {path}", remedy="Add some.")
    return points


def points_of_study(space: Space, name: str, trials: Sequence[TrialRecord], most: int, goal: Goal) -> tuple[Point, ...]:
    """The best complete trials of another study whose values this space has."""
    sign = -1.0 if goal == "maximize" else 1.0
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    ranked = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    known = distributions(space)
    stored = ({n: stored_choice(v) for n, v in trial.params.items() if n in space} for trial in ranked)
    points = _distinct((active_values(space, each) for each in stored if each and _fits(known, each)), most)
    if not points:
        raise InputError(
            f"{_PLACE}.study",
            expected="a study with complete trials whose values this space has",
            found=f"none of the {len(complete)} complete trials of {name!r}",
            remedy="Widen the space, or name another study.",
        )
    return points


def _by_hand(space: Space, point: Mapping[str, Any], place: str) -> Point:
    known = distributions(space)
    stored = {name: stored_choice(value) for name, value in point.items()}
    for name, value in stored.items():
        if name not in space:
            raise InputError(
                f"{place}.{name}",
                expected="a parameter of the space",
                found=repr(name),
                remedy=did_you_mean(name, space) or f"The space has {', '.join(space)}.",
            )
        if not _is_of_kind(space[name], value) or not _fits(known, {name: value}):
            raise _outside(f"{place}.{name}", space[name], point[name])
    missing = [name for name in point if name not in active_values(space, stored) and _is_decided(space, name, stored)]
    if missing:
        raise InputError(
            f"{place}.{missing[0]}",
            expected=f"parameters that are active together: {missing[0]} only when {_condition(space[missing[0]])}",
            found=json.dumps(point),
            remedy="Leave it out of the point, or change the other parameter.",
        )
    return stored


def _is_of_kind(parameter: Parameter, value: Any) -> bool:
    if isinstance(parameter, ChoiceParameter):
        return True
    return type(value) is int or (type(value) is float and not isinstance(parameter, IntParameter))


def _is_decided(space: Space, name: str, stored: Mapping[str, Any]) -> bool:
    """Whether the point itself says that a parameter is inactive; otherwise the sampler may choose so that it is."""
    return all(parent in stored for parent in space[name].when or {})


def _of_texts(space: Space, texts: Mapping[str, str], place: str) -> Point:
    known, point = distributions(space), {}
    for name, text in texts.items():
        value = _value(space[name], text)
        if (value is None and not isinstance(space[name], ChoiceParameter)) or not _fits(known, {name: value}):
            raise _outside(f"{place}: {name}", space[name], text)
        point[name] = value
    return active_values(space, point)


def _value(parameter: Parameter, text: str) -> Any:
    """A cell's value as Optuna stores it; None if it is none."""
    if isinstance(parameter, ChoiceParameter):
        named = {form: choice for choice in parameter.stored() for form in (str(choice), json.dumps(choice))}
        spaced = {form.replace(" ", ""): choice for form, choice in named.items()}
        if text in named or text.replace(" ", "") in spaced:
            return named.get(text, spaced.get(text.replace(" ", "")))
    try:
        number = float(text)
    except ValueError:
        return text if isinstance(parameter, ChoiceParameter) else None
    if isinstance(parameter, ChoiceParameter):  # pandas writes the choice 32 as 32.0 beside blanks
        return next((choice for choice in parameter.stored() if _is_number(choice) and choice == number), text)
    if isinstance(parameter, IntParameter):
        return int(number) if number.is_integer() else None
    return number


def _is_number(choice: Any) -> bool:
    return isinstance(choice, int | float) and not isinstance(choice, bool)


def _fits(known: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    try:
        return all(accepts(known[name], value) for name, value in stored.items())
    except (TypeError, ValueError):
        return False


def _outside(place: str, parameter: Parameter, found: Any) -> InputError:
    if isinstance(parameter, ChoiceParameter):
        expected = f"one of {', '.join(map(repr, parameter.choices))}"
    else:
        low, high = parameter.bounds
        kind = "a whole number" if isinstance(parameter, IntParameter) else "a number"
        steps = f" in steps of {parameter.step:g}" if parameter.step not in (None, 1) else ""
        expected = f"{kind} from {low:g} to {high:g}{steps}"
    return InputError(place, expected=expected, found=repr(found), remedy="Correct the point, or widen the space.")


def _condition(parameter: Parameter) -> str:
    return " and ".join(f"{name} is {' or '.join(map(str, values))}" for name, values in (parameter.when or {}).items())


def _read(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """The header, and the rows with their places in the file."""
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader]
            return list(reader.fieldnames or ()), rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"{_PLACE}.csv",
            expected="a CSV file in UTF-8",
            found=f"{path} ({reason})",
            remedy="Correct the path, which is relative to the working directory.",
        ) from error


def _is_complete(row: Mapping[str, str]) -> bool:
    return all(row[column] in values for column, values in _STATES.items() if row.get(column))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _distinct(points: Iterable[Point], most: int) -> tuple[Point, ...]:
    """The first different points."""
    found: dict[str, Point] = {}
    for point in points:
        found.setdefault(json.dumps(point, sort_keys=True), point)
        if len(found) == most:
            break
    return tuple(found.values())

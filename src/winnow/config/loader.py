"""From an experiment file to a typed `Experiment`, or to one error that a person can act on.

Everything that can be said from the file alone is said here, at the door: what is no YAML, an unknown key with the
nearest valid name, a value of the wrong type or out of bounds. What needs the data, the factory or the metric is
checked where those are loaded; `located` gives those errors the file and the line, too.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pydantic
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.keys import PARAMETERS, SPACE, fields_of, model_in, sections
from winnow.config.names import shown_text
from winnow.config.next_command import next_flag
from winnow.config.space import faults_in_space
from winnow.config.yaml_text import Document, KeyPath, not_yaml, read_yaml

Location = tuple[str | int, ...]
"""Where pydantic found an error: keys of the file, and below `SPACE` also the parameter's kind."""

REFERENCE = "docs/configuration.md"

EXPECTATIONS = {
    "bool_type": "true or false",
    "dict_type": "a mapping of names to values",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_type": "text (in quotes, where it looks like a number)",
    "too_long": "at most {max_length} values",
    "too_short": "at least {min_length} values",
    "tuple_type": "a list",
    "union_tag_invalid": "exactly one of `float: [low, high]`, `int: [low, high]` and `choice: [value, …]`",
    "union_tag_not_found": "exactly one of `float: [low, high]`, `int: [low, high]` and `choice: [value, …]`",
}
"""What pydantic's error types mean in an experiment file."""


def load_experiment(path: Path | str, overrides: Mapping[str, Any] = {}) -> Experiment:
    """Read an experiment file.

    Args:
        path: the YAML file.
        overrides: values that replace the file's, by dotted key (`{"search.trials": 10}`); None leaves the file's.

    Raises:
        InputError: the file is missing, unreadable or wrong. All faults are found at once: the first is the error
            itself, the others are its notes.
    """
    path = Path(path)
    document = _read(path)
    given = _given(overrides)
    # As JSON and strictly: lists are tuples there, but "10" is no number and `true` is not 1.
    content = json.dumps(_with_overrides(document.content, given), default=str)
    try:
        experiment = Experiment.model_validate_json(content, strict=True)
    except pydantic.ValidationError as error:
        faults = [_fault(path, document, given, details) for details in error.errors(include_url=False)]
    else:
        faults = list(faults_in_space(experiment))
        for fault in faults:
            _move_to_line(fault, path, document, given)
        if not faults:
            return experiment
    first, *others = faults
    for other in others:
        first.add_note(str(other))
    raise first


@contextlib.contextmanager
def located(path: Path, overrides: Mapping[str, Any] = {}) -> Iterator[None]:
    """Name the file and the line in errors about the experiment that are raised in here.

    Code that works on a loaded experiment names keys alone (`data.source`, `search.space.lr`).

    Args:
        path, overrides: what `load_experiment` read the experiment from.

    Raises:
        InputError: the file cannot be read.
    """
    document, given = _read(path), _given(overrides)
    try:
        yield
    except InputError as error:
        _move_to_line(error, path, document, given)
        raise


def _move_to_line(error: InputError, path: Path, document: Document, overrides: Mapping[KeyPath, Any]) -> None:
    """Let an error whose place is a key of the experiment name the file and the line, too."""
    keys = _keys_named(error.place, document)
    if keys is not None:
        rest = error.place.removeprefix(_dotted(keys))
        error.move_to(_place_of(path, document, overrides, keys) + rest)


def _given(overrides: Mapping[str, Any]) -> dict[KeyPath, Any]:
    """The overrides that replace something, by the path of their key."""
    return {tuple(key.split(".")): value for key, value in overrides.items() if value is not None}


def _read(path: Path) -> Document:
    """The file as plain values, certainly a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8 text"
        raise InputError(
            str(path),
            expected="an experiment file that can be read",
            found=f"'{reason}'" if path.exists() else "no such file",
            remedy=f"{_nearest_file(path)}Name one with {next_flag('config', ...)}.",
        ) from error
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from error
    if not isinstance(document.content, dict):
        raise InputError(
            str(path),
            expected="a mapping of keys (name, data, model, search, …)",
            found="an empty file" if document.content is None else _shown(document.content),
            remedy="Start from a copy of experiments/breast_cancer.yaml, which explains every key.",
        )
    _check_finite(path, document, document.content, ())
    return document


def _check_finite(path: Path, document: Document, value: Any, keys: KeyPath) -> None:
    """Refuse infinity and NaN wherever they stand: the study is stored as JSON, which has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(
            _place(path, document, keys),
            expected="a finite number",
            found="NaN" if math.isnan(value) else "infinity" if value > 0 else "minus infinity",
            remedy="Write another number.",
        )
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        _check_finite(path, document, each, (*keys, key if isinstance(key, int) else str(key)))


def _with_overrides(content: dict[str, Any], overrides: Mapping[KeyPath, Any]) -> dict[str, Any]:
    """A copy of `content` in which the overrides stand in the places of the file's values."""
    result = copy.deepcopy(content)
    for path, value in overrides.items():
        section: Any = result
        for key in path[:-1]:
            if section.get(key) is None:
                section[key] = {}
            if not isinstance(section[key], dict):
                break  # the section itself is wrong, which validation says better
            section = section[key]
        else:
            section[path[-1]] = value
    return result


def _fault(path: Path, document: Document, overrides: Mapping[KeyPath, Any], details: ErrorDetails) -> InputError:
    """One of pydantic's errors as an error for a person."""
    location, value = details["loc"], details["input"]
    keys = _keys_in_file(location)
    place = _place_of(path, document, overrides, keys)
    if details["type"] == "extra_forbidden":
        return _unknown_key(place, location)
    field = _field_at(location)
    meaning = field.description if field is not None else None
    if details["type"] == "missing":
        remedy = f"Add it: {meaning}" if meaning else f"Add it with its keys; {REFERENCE} shows them."
        return InputError(place, expected="a value", found="nothing", remedy=remedy)
    remedy = f"`{keys[-1]}` is: {meaning}" if meaning else f"{REFERENCE} explains every key."
    if details["type"] == "literal_error" and field is not None:
        nearest = difflib.get_close_matches(str(value), _literals(field.annotation), n=1)
        remedy = f"Did you mean '{nearest[0]}'?" if nearest else remedy
    if details["type"] in ("union_tag_not_found", "union_tag_invalid") and isinstance(value, dict):
        remedy = _nearest_kind(value) or remedy
    if value is None and _model_at(location) is not None:
        remedy = "Put its settings below it, or leave the key out."
    return InputError(place, expected=_expectation(details), found=_shown(value), remedy=remedy)


def _unknown_key(place: str, location: Location) -> InputError:
    section, key = location[:-1], str(location[-1])
    model = _model_at(section)
    names = sorted(fields_of(model)) if model else []
    nearest = difflib.get_close_matches(key, names, n=1)
    elsewhere = [other for other, owner in sections() if other != section and key in fields_of(owner)]
    if nearest:
        remedy = f"Did you mean '{nearest[0]}'?"
    elif elsewhere:
        remedy = f"It belongs to {f'`{_dotted(elsewhere[0])}`' if elsewhere[0] else 'the top level'}."
    else:
        remedy = f"Remove it, or see {REFERENCE}."
    return InputError(place, expected=f"one of {', '.join(names)}", found=f"the unknown key '{key}'", remedy=remedy)


def _nearest_kind(parameter: Mapping[str, Any]) -> str | None:
    """A hint at the kind of parameter that a mistyped key stands for."""
    for key in parameter:
        nearest = difflib.get_close_matches(str(key), list(PARAMETERS), n=1)
        if nearest and key not in PARAMETERS:
            return f"Did you mean '{nearest[0]}' instead of '{key}'?"
    return None


def _nearest_file(path: Path) -> str:
    """A hint at a file with nearly the same name, or nothing."""
    try:
        stems = {file.stem: file for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")}
    except OSError:
        return ""
    nearest = difflib.get_close_matches(path.stem, stems, n=1)
    return f"Did you mean '{stems[nearest[0]]}'? " if nearest and stems[nearest[0]] != path else ""


def _expectation(details: ErrorDetails) -> str:
    """What would have been right; pydantic's own sentence where it is clear enough."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "model_type":
        model = _model_at(details["loc"])
        return f"a mapping of {', '.join(fields_of(model))}" if model else "a mapping"
    if kind in EXPECTATIONS:
        return EXPECTATIONS[kind].format(**context)
    return details["msg"].removeprefix("Input should be ")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return shown_text(value)
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _place(path: Path, document: Document, keys: KeyPath) -> str:
    """`file:line: key.path`; the line is that of the nearest key which the file holds."""
    known = next((keys[:end] for end in range(len(keys), 0, -1) if keys[:end] in document.lines), None)
    file = f"{path}:{document.lines[known]}" if known else str(path)
    return f"{file}: {_dotted(keys)}" if keys else file


def _place_of(path: Path, document: Document, overrides: Mapping[KeyPath, Any], keys: KeyPath) -> str:
    return f"{_dotted(keys)} (overriding {path})" if keys in overrides else _place(path, document, keys)


def _keys_named(place: str, document: Document) -> KeyPath | None:
    """The nearest key of the file that an error's place names; the place's own key where the file lacks it.

    None where the place is no key of an experiment: a variable, a file, a server.
    """
    written = {_dotted(keys): keys for keys in document.lines}
    if place in written:
        return written[place]
    keys = tuple(place.split("."))
    if _field_at(keys) is not None:
        return keys
    for end in reversed([index for index, character in enumerate(place) if character in ".["]):
        outer = written.get(place[:end])
        # Below a section with fixed keys anything else is no key: `data.csv` is a file.
        if outer is not None and (_model_at(outer) is None or _takes_any(outer)):
            return outer
    return None


def _takes_any(keys: KeyPath) -> bool:
    model = _model_at(keys)
    return model is not None and model.model_config.get("extra") == "allow"


def _dotted(keys: Location) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _keys_in_file(location: Location) -> KeyPath:
    """An error's place without the parameter's kind, which pydantic puts between its name and its keys."""
    return (*location[:3], *location[4:]) if location[:2] == SPACE else tuple(location)


def _model_at(location: Location) -> type[BaseModel] | None:
    """The model that describes the mapping at `location`; None where the mapping is free or there is none."""
    model: type[BaseModel] | None = Experiment
    if location[:2] == SPACE and len(location) > 3:
        model, location = PARAMETERS[str(location[3])], location[4:]
    for key in location:
        if model is None:
            return None
        field = fields_of(model).get(str(key))
        model = model_in(field.annotation) if field is not None else None
    return model


def _field_at(location: Location) -> FieldInfo | None:
    model = _model_at(location[:-1]) if location else None
    return fields_of(model).get(str(location[-1])) if model is not None else None


def _literals(annotation: Any) -> list[str]:
    """The texts of a `Literal`, also inside a union."""
    arguments = get_args(annotation)
    if not arguments:
        return [annotation] if isinstance(annotation, str) else []
    return [text for argument in arguments for text in _literals(argument)]

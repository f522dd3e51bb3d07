"""Load an experiment file into a typed `Experiment`, or refuse it with an error that says what to change.

This module checks what the file alone can tell: YAML syntax, unknown keys, wrong types, values out of bounds. What
needs the data, the factory or the metric is checked where those are loaded; `located` adds the file and the line to
those errors.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import pydantic
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from winnow.config.addresses import without_password
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.keys import PARAMETERS, SPACE, fields_of, item_model_in, model_in, sections
from winnow.config.names import shown_text
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_flag
from winnow.config.search import faults_in_search
from winnow.config.serving_faults import faults_in_serving
from winnow.config.space import faults_in_space
from winnow.config.yaml_text import Document, KeyPath, not_yaml, read_yaml

REFERENCE = "docs/configuration.md"

_KINDS = "exactly one of `float: [low, high]`, `int: [low, high]` and `choice: [value, …]`"
_EXPECTATIONS = {
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
    "string_type": "text (in quotes, if it looks like a number)",
    "too_long": "at most {max_length} values",
    "too_short": "at least {min_length} values",
    "tuple_type": "a list",
    "union_tag_invalid": _KINDS,
    "union_tag_not_found": _KINDS,
    "value_error": "{error}",
}
"""What an experiment file needs, by pydantic's error type."""


@dataclass(frozen=True)
class _Source:
    """An experiment file, and the values that override its own, by the path of their key.

    `path` is None for an experiment that is given as values.
    """

    path: Path | None
    document: Document
    overrides: Mapping[KeyPath, Any]

    def place(self, keys: KeyPath) -> str:
        """`file:line: key.path`, with the line of the nearest key in the file."""
        if self.path is None:
            return _dotted(keys) or "the experiment"
        if keys in self.overrides:
            return f"{_dotted(keys)} (overriding {self.path})"
        lines = self.document.lines
        known = next((keys[:end] for end in range(len(keys), 0, -1) if keys[:end] in lines), None)
        file = f"{self.path}:{lines[known]}" if known else str(self.path)
        return f"{file}: {_dotted(keys)}" if keys else file

    def locate(self, error: InputError) -> None:
        """Add the file and the line to an error whose place is a key of the experiment."""
        keys = self._keys_named(error.place)
        if keys is not None:
            error.move_to(self.place(keys) + error.place.removeprefix(_dotted(keys)))

    def content(self) -> dict[str, Any]:
        """The file's content with the overrides in place."""
        result = copy.deepcopy(self.document.content)
        for path, value in self.overrides.items():
            section: Any = result
            for key in path[:-1]:
                if section.get(key) is None:
                    section[key] = {}
                if not isinstance(section[key], dict):
                    break  # validation explains the wrong section better
                section = section[key]
            else:
                section[path[-1]] = value
        return result  # type: ignore[no-any-return]  # `_read` refuses everything but a mapping

    def _keys_named(self, place: str) -> KeyPath | None:
        """The key that a place names, or the nearest one in the file; None for a variable, a file or a server."""
        written = {_dotted(keys): keys for keys in self.document.lines}
        if place in written:
            return written[place]
        keys = tuple(place.split("."))
        if _field_at(keys) is not None:
            return keys
        for end in reversed([index for index, character in enumerate(place) if character in ".["]):
            outer = written.get(place[:end])
            if outer is not None:
                # In a section with fixed keys, any other text is not a key: `data.csv` is a file.
                model = _model_at(outer)
                if model is None or model.model_config.get("extra") == "allow":
                    return outer
        return None


Given: TypeAlias = Path | str | Mapping[str, Any] | Experiment
"""An experiment: the path of its file, the file's content as a mapping, or an experiment that was loaded before."""


def load_experiment(path: Given, overrides: Mapping[str, Any] = {}) -> Experiment:
    """Read an experiment.

    Args:
        path: the YAML file, or its content.
        overrides: values that replace the file's, by dotted key (`{"search.trials": 10}`); None keeps the file's.

    Raises:
        InputError: the file is missing, unreadable or wrong. All faults are found at once: the first is the error
            itself, the others are its notes.
    """
    source = _read(path, overrides)
    # As strict JSON: lists become tuples, but "10" is not a number and `true` is not 1.
    content = json.dumps(source.content(), default=str)
    try:
        experiment = Experiment.model_validate_json(content, strict=True)
    except pydantic.ValidationError as error:
        faults = [_fault(source, details) for details in error.errors(include_url=False)]
    else:
        faults = [*faults_in_space(experiment), *faults_in_search(experiment), *faults_in_serving(experiment)]
        for fault in faults:
            source.locate(fault)
        if not faults:
            return experiment
    first, *others = faults
    for other in others:
        first.add_note(str(other))
    raise first


@contextlib.contextmanager
def located(path: Given, overrides: Mapping[str, Any] = {}) -> Iterator[None]:
    """Add the file and the line to errors about the experiment that are raised inside the block.

    Code that works on a loaded experiment names keys alone (`data.source`, `search.space.lr`).

    Args:
        path, overrides: the arguments of `load_experiment`.

    Raises:
        InputError: the file cannot be read.
    """
    source = _read(path, overrides)
    try:
        yield
    except InputError as error:
        source.locate(error)
        raise


def _read(given: Given, overrides: Mapping[str, Any]) -> _Source:
    """The experiment with its overrides. Its content is a mapping of finite values."""
    replaced: dict[KeyPath, Any] = {
        tuple(key.split(".")): value for key, value in overrides.items() if value is not None
    }
    if isinstance(given, Experiment):
        given = given.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(given, Mapping):
        source = _Source(None, Document(dict(given), {}), replaced)
        _check_finite(source, source.document.content, ())
        return source
    path = Path(given)
    document = _read_file(path)
    _check_finite(_Source(path, document, {}), document.content, ())
    return _Source(path, document, replaced)


def _read_file(path: Path) -> Document:
    """A file whose content is a mapping."""
    try:
        document = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8 text"
        raise InputError(
            str(path),
            expected="an experiment file that can be read",
            found=f"'{reason}'" if path.exists() else "no such file",
            remedy=f"{_nearest_file(path)}Name one with {next_flag('config', ...)}.",
        ) from error
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from error
    if not isinstance(document.content, dict):
        raise InputError(
            str(path),
            expected="a mapping of keys (name, data, model, search, …)",
            found="an empty file" if document.content is None else _shown(document.content),
            remedy="Start from a copy of experiments/breast_cancer.yaml, which explains every key.",
        )
    return document


def _check_finite(source: _Source, value: Any, keys: KeyPath) -> None:
    """Refuse infinity and NaN: studies are stored as JSON, which has no such numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(
            source.place(keys),
            expected="a finite number",
            found="NaN" if math.isnan(value) else "infinity" if value > 0 else "minus infinity",
            remedy="Write another number.",
        )
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        _check_finite(source, each, (*keys, key if isinstance(key, int) else str(key)))


def _fault(source: _Source, details: ErrorDetails) -> InputError:
    """The error for one of pydantic's errors."""
    location, value, kind = details["loc"], details["input"], details["type"]
    # Below the space, pydantic puts the parameter's kind between its name and its keys.
    keys = (*location[:3], *location[4:]) if location[:2] == SPACE else location
    place = source.place(keys)
    if kind == "extra_forbidden":
        return _unknown_key(place, location)
    field, model = _field_at(location), _model_at(location)
    meaning = field.description if field is not None else None
    if kind == "missing":
        remedy = f"Add it: {meaning}" if meaning else f"Add it with its keys; {REFERENCE} shows them."
        return InputError(place, expected="a value", found="nothing", remedy=remedy)
    remedy = f"`{keys[-1]}` is: {meaning}" if meaning else f"{REFERENCE} explains every key."
    if kind == "literal_error" and field is not None:
        remedy = did_you_mean(str(value), _literals(field.annotation)) or remedy
    if kind.startswith("union_tag") and isinstance(value, dict):
        remedy = _nearest_kind(value) or remedy
    if value is None and model is not None:
        remedy = "Put its settings below it, or leave the key out."
    if kind == "model_type":
        expected = f"a mapping of {', '.join(fields_of(model))}" if model else "a mapping"
    elif kind in _EXPECTATIONS:
        expected = _EXPECTATIONS[kind].format(**details.get("ctx", {}))
    else:
        expected = details["msg"].removeprefix("Input should be ")
    return InputError(place, expected=expected, found=_shown(value), remedy=remedy)


def _unknown_key(place: str, location: KeyPath) -> InputError:
    section, key = location[:-1], str(location[-1])
    model = _model_at(section)
    names = sorted(fields_of(model)) if model else []
    nearest = did_you_mean(key, names)
    elsewhere = [other for other, owner in sections() if other != section and key in fields_of(owner)]
    if nearest:
        remedy = nearest
    elif elsewhere:
        remedy = f"It belongs to {f'`{_dotted(elsewhere[0])}`' if elsewhere[0] else 'the top level'}."
    else:
        remedy = f"Remove it, or see {REFERENCE}."
    return InputError(place, expected=f"one of {', '.join(names)}", found=f"the unknown key '{key}'", remedy=remedy)


def _nearest_kind(parameter: Mapping[str, Any]) -> str | None:
    """A hint for a mistyped kind of parameter."""
    for key in parameter:
        nearest = difflib.get_close_matches(str(key), list(PARAMETERS), n=1)
        if nearest and key not in PARAMETERS:
            return f"Did you mean '{nearest[0]}' instead of '{key}'?"
    return None


def _nearest_file(path: Path) -> str:
    """A hint for a file with nearly the same name, or nothing."""
    try:
        stems = {file.stem: file for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")}
    except OSError:
        return ""
    nearest = difflib.get_close_matches(path.stem, stems, n=1)
    return f"Did you mean '{stems[nearest[0]]}'? " if nearest and stems[nearest[0]] != path else ""


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return shown_text(without_password(value))
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    text = without_password(text)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _dotted(keys: KeyPath) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _model_at(location: KeyPath) -> type[BaseModel] | None:
    """The model of the mapping at pydantic's `location`; None if any keys are allowed there, or for no mapping."""
    model: type[BaseModel] | None = Experiment
    if location[:2] == SPACE and len(location) > 3:
        model, location = PARAMETERS[str(location[3])], location[4:]
    item: type[BaseModel] | None = None
    for key in location:
        if item is not None:
            model, item = item, None
            continue
        field = fields_of(model).get(str(key)) if model is not None else None
        if field is None:
            return None
        model, item = model_in(field.annotation), item_model_in(field.annotation)
    return model


def _field_at(location: KeyPath) -> FieldInfo | None:
    model = _model_at(location[:-1]) if location else None
    return fields_of(model).get(str(location[-1])) if model is not None else None


def _literals(annotation: Any) -> list[str]:
    """The texts of a `Literal`, also inside a union."""
    arguments = get_args(annotation)
    if not arguments:
        return [annotation] if isinstance(annotation, str) else []
    return [text for argument in arguments for text in _literals(argument)]

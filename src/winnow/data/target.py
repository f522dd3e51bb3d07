"""The target as classes 0..n-1 or as float32 values, and the choice between the two tasks."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.dataset import Task
from winnow.data.labels import is_number, looks_like_classes
from winnow.data.names import lookalikes
from winnow.data.precision import refuse_merged
from winnow.data.raw import as_array

PLACE = "data.target"
Kind = Literal["text", "bool", "number"]


@dataclass(frozen=True, eq=False)
class Target:
    """A target that can be trained on.

    Attributes:
        values: int64 [rows] with classes 0..n-1, or float32 [rows, targets].
        class_names: one per class; None for regression.
    """

    task: Task
    values: NDArray[np.int64] | NDArray[np.float32]
    class_names: tuple[str, ...] | None


def convert_target(
    target: Any, task: Literal["auto", "classification", "regression"], class_names: tuple[str, ...] | None, source: str
) -> Target:
    """Check and encode a target.

    `auto` means classification for text and booleans, where the source names classes, and for whole numbers of two
    values or of at most 20 with 5 rows each on average; otherwise regression. Text classes are ordered by their text,
    numeric ones by value.

    Args:
        target: [rows] or [rows, targets].
        class_names: names for the classes in their order, where the source has them.

    Raises:
        InputError: missing or infinite values, a single class or value, text or values that float32 merges for
            regression, several columns for classification, or class names that do not fit.
    """
    array = as_array(target, PLACE)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim > 2:
        raise _refusal(
            f"one or several numbers for each row of {source}", f"shape {array.shape[1:]}", "Flatten the target."
        )
    array, kind = _plain(array, source)
    if kind == "number":
        _refuse_infinite(array, source)
    if task == "auto":
        are_classes = array.ndim == 1 and (kind != "number" or looks_like_classes(array))
        task = "classification" if class_names is not None or are_classes else "regression"
    if task == "regression":
        return Target("regression", _values(array, kind, source), None)
    if array.ndim == 2:
        raise _refusal(
            f"one class for each row of {source}",
            f"{array.shape[1]} columns",
            "Return the class itself (for one-hot rows: their argmax), or set `data.task: regression`.",
        )
    codes, names = _classes(array, kind, class_names, source)
    return Target("classification", codes, names)


def _plain(array: NDArray[Any], source: str) -> tuple[NDArray[Any], Kind]:
    """The target without pandas' and Python's own types, and what it holds."""
    if array.dtype.kind == "b":
        return array, "bool"
    if array.dtype.kind in "iuf":
        _refuse_missing(np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool), source)
        return array, "number"
    if array.dtype.kind in "US":
        array = array.astype(np.str_)
        _refuse_missing(array == "", source, "empty")
        return array, "text"
    if array.dtype.kind != "O":
        raise _refusal(
            f"numbers, text or booleans in the target of {source}",
            f"values of type {array.dtype}",
            "Convert it in a data function.",
        )
    import pandas as pd

    _refuse_missing(pd.isna(array), source)
    _refuse_missing(np.array([value == "" for value in array.flat]).reshape(array.shape), source, "empty")
    kinds = {_kind_of(value) for value in array.flat}
    if len(kinds) != 1 or None in kinds:
        types = sorted({type(value).__name__ for value in array.flat})
        raise _refusal(
            f"values of one kind in the target of {source}: numbers, text or booleans",
            f"a mixture of {', '.join(types)}" if len(types) > 1 else f"values of type {types[0]}",
            "Convert it in a data function.",
        )
    kind = kinds.pop()
    assert kind is not None
    if kind == "number" and all(isinstance(value, int | np.integer) for value in array.flat):
        return _whole_numbers(array, source), kind
    return array.astype({"text": np.str_, "bool": np.bool_, "number": np.float64}[kind]), kind


def _whole_numbers(array: NDArray[Any], source: str) -> NDArray[np.int64]:
    """Python's own integers; as float64, those beyond 2**53 would merge."""
    try:
        return array.astype(np.int64)
    except OverflowError as error:
        raise _refusal(
            f"whole numbers of at most 64 bits in the target of {source}",
            "larger ones",
            "Give labels as text, or rescale the target.",
        ) from error


def _kind_of(value: Any) -> Kind | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "bool"
    return "number" if isinstance(value, int | float | Decimal | np.integer | np.floating) else None


def _values(array: NDArray[Any], kind: Kind, source: str) -> NDArray[np.float32]:
    if kind == "text":
        texts = [str(text) for text in array.reshape(len(array), -1)[:, 0]]
        row = next((row for row, text in enumerate(texts) if not is_number(text)), 0)
        raise _refusal(
            f"numbers in the target of {source} for regression",
            f"text: {texts[row][:40]!r} in row {row + 1}",
            "Choose another target, or set `data.task: classification`.",
        )
    with np.errstate(over="ignore"):
        values = array.reshape(len(array), -1).astype(np.float32)
    _refuse_infinite(values, source)
    for column in array.reshape(len(array), -1).T:
        remedy = "Subtract a constant from the target, and add it to the answers."
        refuse_merged(column, "the target", PLACE, source, remedy)
    constant = np.flatnonzero((values == values[:1]).all(axis=0)) if len(values) else np.empty(0)
    if len(constant):
        which = f" in column {constant[0] + 1}" if values.shape[1] > 1 else ""
        raise _refusal(
            f"at least two different values in the target of {source}",
            f"the same value in all {len(values)} rows{which}",
            "Choose another target: there is nothing to learn in this one.",
        )
    return values


def _classes(
    array: NDArray[Any], kind: Kind, names: tuple[str, ...] | None, source: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    labels, codes = np.unique(array, return_inverse=True)
    codes = codes.astype(np.int64)
    found = tuple(_label(label) for label in labels)
    if len(labels) == 1:
        raise _refusal(
            f"at least two classes in the target of {source}",
            f"only '{found[0]}' in all {len(array)} rows",
            "Choose another target, or add rows of another class.",
        )
    _refuse_lookalikes(found, source)
    if names is None:
        return codes, found
    if kind == "text" and set(names) == set(found) and len(names) == len(found):
        order = np.array([names.index(name) for name in found])
        return order[codes].astype(np.int64), names
    if kind == "text" or len(names) != len(found) or len(set(names)) != len(names):
        raise _refusal(
            f"one class name for each of the {len(found)} classes of {source}",
            f"{len(names)} names: {_shown(names)} for {_shown(found)}",
            "Correct `class_names`; every class needs rows.",
        )
    return codes, names


def _refuse_lookalikes(labels: tuple[str, ...], source: str) -> None:
    pair = lookalikes(labels)
    if pair is not None:
        raise _refusal(
            f"classes of {source} that a person can tell apart",
            f"{pair[0]!r} and {pair[1]!r}, which differ only in white space or invisible characters",
            "Write them alike, or give them different names.",
        )


def _label(value: Any) -> str:
    """A class's name: whole numbers without a decimal point, whatever their type."""
    if isinstance(value, np.floating) and value == np.round(value):
        return str(int(value))
    return str(value)


def _refuse_missing(missing: NDArray[np.bool_], source: str, sign: str = "NaN") -> None:
    if missing.any():
        rows = missing.reshape(len(missing), -1).any(axis=1)
        raise _refusal(
            f"a value in every row of the target of {source}",
            f"{int(rows.sum())} missing ({sign}), the first in row {int(rows.argmax()) + 1}",
            "Remove these rows, or fill them in.",
        )


def _refuse_infinite(values: NDArray[Any], source: str) -> None:
    infinite = np.isinf(values).reshape(len(values), -1).any(axis=1)
    if infinite.any():
        raise _refusal(
            f"finite numbers that float32 can hold in the target of {source}",
            f"{int(infinite.sum())} infinite, the first in row {int(infinite.argmax()) + 1}",
            "Remove these rows, or rescale the target.",
        )


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _refusal(expected: str, found: str, remedy: str) -> InputError:
    return InputError(PLACE, expected=expected, found=found, remedy=remedy)

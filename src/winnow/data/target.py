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
from winnow.data.raw import as_array
from winnow.data.refusals import is_empty_text, refuse_lookalikes, refuse_merged, refuse_missing

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

    `auto` means classification for text and booleans, for sources that name classes, and for whole numbers of two
    values or of at most 20 with 5 rows each on average; otherwise regression. Text classes are in the order of their
    text, numeric ones in the order of their values.

    Args:
        target: [rows] or [rows, targets].
        class_names: the classes' names in their order, if the source has them.

    Raises:
        InputError: missing or infinite values, a single class or value, several columns for classification, class
            names that do not fit, or, for regression, text or values that float32 merges.
    """
    array = as_array(target, PLACE)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim > 2:
        expected = f"one or several numbers for each row of {source}"
        raise _refusal(expected, f"shape {array.shape[1:]}", "Flatten the target.")
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
    """The target without pandas' and Python's own types, and the kind of its values."""
    if array.dtype.kind == "b":
        return array, "bool"
    if array.dtype.kind in "iu":
        return array, "number"
    if array.dtype.kind == "f":
        refuse_missing(np.isnan(array), PLACE, source)
        return array, "number"
    if array.dtype.kind in "US":
        array = array.astype(np.str_)
        refuse_missing(array == "", PLACE, source, " (empty)")
        return array, "text"
    if array.dtype.kind != "O":
        expected = f"numbers, text or booleans in the target of {source}"
        raise _refusal(expected, f"values of type {array.dtype}", "Convert it in a data function.")
    import pandas as pd

    refuse_missing(pd.isna(array), PLACE, source)
    refuse_missing(is_empty_text(array), PLACE, source, " (empty)")
    kinds = {_kind_of(value) for value in array.flat}
    kind = kinds.pop()
    if kinds or kind is None:
        types = sorted({type(value).__name__ for value in array.flat})
        raise _refusal(
            f"values of one kind in the target of {source}: numbers, text or booleans",
            f"a mixture of {', '.join(types)}" if len(types) > 1 else f"values of type {types[0]}",
            "Convert it in a data function.",
        )
    if kind != "number" or not all(isinstance(value, int | np.integer) for value in array.flat):
        return array.astype({"text": np.str_, "bool": np.bool_, "number": np.float64}[kind]), kind
    try:
        return array.astype(np.int64), kind  # as float64, integers beyond 2**53 would merge
    except OverflowError as error:
        expected = f"whole numbers of at most 64 bits in the target of {source}"
        raise _refusal(expected, "larger ones", "Give labels as text, or rescale the target.") from error


def _kind_of(value: Any) -> Kind | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "bool"
    return "number" if isinstance(value, int | float | Decimal | np.integer | np.floating) else None


def _values(array: NDArray[Any], kind: Kind, source: str) -> NDArray[np.float32]:
    array = array.reshape(len(array), -1)
    if kind == "text":
        texts = [str(text) for text in array[:, 0]]
        row = next((row for row, text in enumerate(texts) if not is_number(text)), 0)
        raise _refusal(
            f"numbers in the target of {source} for regression",
            f"text: {texts[row][:40]!r} in row {row + 1}",
            "Choose another target, or set `data.task: classification`.",
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    _refuse_infinite(values, source)
    for column in array.T:
        remedy = "Subtract a constant from the target, and add it to the predictions."
        refuse_merged(column, "the target", PLACE, source, remedy)
    constant = np.flatnonzero((values == values[:1]).all(axis=0)) if len(values) else np.empty(0)
    if len(constant):
        which = f" in column {constant[0] + 1}" if values.shape[1] > 1 else ""
        raise _refusal(
            f"at least two different values in the target of {source}",
            f"the same value in all {len(values)} rows{which}",
            "Choose another target: a constant cannot be learned.",
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
    refuse_lookalikes(found, "classes", PLACE, source)
    if names is None:
        return codes, found
    if kind == "text" and set(names) == set(found) and len(names) == len(found):
        order = np.array([names.index(name) for name in found])
        return order[codes].astype(np.int64), names
    if kind == "text" or len(names) != len(found) or len(set(names)) != len(names):
        given, needed = (", ".join(each[:8]) + (", …" if len(each) > 8 else "") for each in (names, found))
        raise _refusal(
            f"one class name for each of the {len(found)} classes of {source}",
            f"{len(names)} names: {given} for {needed}",
            "Correct `class_names`; every class needs rows.",
        )
    return codes, names


def _label(value: Any) -> str:
    """A class's name: whole numbers without a decimal point, whatever their type."""
    is_whole = isinstance(value, np.floating) and value == np.round(value)
    return str(int(value)) if is_whole else str(value)


def _refuse_infinite(values: NDArray[Any], source: str) -> None:
    infinite = np.isinf(values).reshape(len(values), -1).any(axis=1)
    if infinite.any():
        raise _refusal(
            f"finite numbers that float32 can hold in the target of {source}",
            f"{int(infinite.sum())} infinite, the first in row {int(infinite.argmax()) + 1}",
            "Remove these rows, or rescale the target.",
        )


def _refusal(expected: str, found: str, remedy: str) -> InputError:
    return InputError(PLACE, expected=expected, found=found, remedy=remedy)

"""What a source gave, before anything of it is checked or converted.

Sources differ in where rows come from; from here on all are treated alike. Values are pandas objects or numpy arrays:
`as_values` turns the rest (tensors, lists) into arrays without importing torch or pandas for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.config.errors import InputError


@dataclass(frozen=True, eq=False)
class RawData:
    """Rows as they came.

    Attributes:
        name: for people.
        features: a DataFrame, or an array [rows, …].
        target: an array or a pandas object, [rows] or [rows, targets].
        groups, time: one value per row, or None.
        feature_names, class_names: as the source names them, or None.
        target_names: the same for the target's columns.
    """

    name: str
    features: Any
    target: Any
    groups: Any = None
    time: Any = None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None


def is_frame(value: Any) -> bool:
    """Whether it is a DataFrame, told by its shape so that nothing has to be imported."""
    return hasattr(value, "columns") and hasattr(value, "dtypes")


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, told by its shape so that torch is not imported."""
    return hasattr(value, "detach") and hasattr(value, "numpy") and hasattr(value, "cpu")


def as_values(value: Any, place: str) -> Any:
    """A pandas object as it is, anything else as an array of at least one dimension.

    Raises:
        InputError: it is no array: rows of different lengths, or a single value.
    """
    if is_frame(value) or hasattr(value, "to_numpy"):
        return value
    if is_tensor(value):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        return _with_rows(value.numpy(), place)
    try:
        return _with_rows(np.asarray(value), place)
    except ValueError as error:
        raise InputError(
            place,
            expected="rows of one shape",
            found=f"'{error}'",
            remedy="Give every row the same shape.",
        ) from error


def as_array(value: Any, place: str) -> Any:
    """The same as a numpy array, pandas objects too."""
    values = as_values(value, place)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def _with_rows(array: np.ndarray[Any, Any], place: str) -> np.ndarray[Any, Any]:
    if array.ndim == 0:
        raise InputError(
            place,
            expected="an array with a row for each example",
            found=f"a single value of type {type(array.item()).__name__}",
            remedy="Return a numpy array, a DataFrame or a tensor.",
        )
    return array

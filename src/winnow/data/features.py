"""Inputs as float32, or a refusal that names the column.

Missing values stay NaN: the preprocessing inside the model puts the training mean in their place. Everything else that
a network cannot take is refused here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.raw import as_values, is_frame

if TYPE_CHECKING:
    import pandas as pd

PLACE = "data.source"
NUMERIC_KINDS = "buif"


def convert_features(
    features: Any, names: tuple[str, ...] | None, source: str
) -> tuple[NDArray[np.float32], tuple[str, ...] | None]:
    """Inputs as float32 [rows, *input_shape], and the columns' names where a row is one-dimensional.

    Args:
        features: a DataFrame, or an array; [rows] counts as [rows, 1].
        names: of the columns, where the source has them; a DataFrame has its own.

    Raises:
        InputError: no rows, no columns, text, infinite values, or names that are not one per column.
    """
    if is_frame(features):
        array, own = _from_frame(features, source), tuple(str(name) for name in features.columns)
        names = names or own
    else:
        array = _from_array(as_values(features, PLACE), names, source)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.size == 0:
        found = f"{array.shape[0]} rows of shape {array.shape[1:]}"
        raise InputError(
            PLACE,
            expected=f"rows and feature columns in {source}",
            found=found,
            remedy="Check what was written to it, and `data.drop`.",
        )
    is_tabular = array.ndim == 2
    if is_tabular and names is None:
        names = tuple(f"x{index}" for index in range(array.shape[1]))
    double = next((name for index, name in enumerate(names or ()) if name in (names or ())[:index]), None)
    if names is not None and (not is_tabular or len(names) != array.shape[1] or double is not None):
        raise InputError(
            PLACE,
            expected=f"one feature name for each column of {source}, all different; none for tensors",
            found=f"'{double}' twice" if double else f"{len(names)} names for rows of shape {array.shape[1:]}",
            remedy="Correct `feature_names`.",
        )
    _refuse_infinite(array, names, source)
    return np.ascontiguousarray(array), names


def _from_frame(frame: pd.DataFrame, source: str) -> NDArray[np.float32]:
    result = np.empty(frame.shape, dtype=np.float32)
    for index, name in enumerate(frame.columns):
        result[:, index] = _from_column(frame.iloc[:, index], str(name), source)
    return result


def _from_column(column: pd.Series[Any], name: str, source: str) -> NDArray[np.float32]:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object:
        column = column.astype(object).infer_objects()
    present = column.dropna()
    if present.empty:
        return np.full(len(column), np.nan, dtype=np.float32)
    is_logical = column.dtype == object and all(isinstance(value, bool | np.bool_) for value in present)
    is_numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)
    if not is_logical and not is_numeric:
        raise _not_numeric(name, present.iloc[0], int(np.flatnonzero(column.notna())[0]), source)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused with the others
        return column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)


def _from_array(array: Any, names: tuple[str, ...] | None, source: str) -> NDArray[np.float32]:
    if is_frame(array) or not isinstance(array, np.ndarray):
        array = array.to_numpy()
    if array.dtype.kind not in NUMERIC_KINDS:
        array = _numbers_in(array, names, source)
    with np.errstate(over="ignore"):
        return array.astype(np.float32)  # type: ignore[no-any-return]


def _numbers_in(array: NDArray[Any], names: tuple[str, ...] | None, source: str) -> NDArray[np.float64]:
    """An array of objects that are all numbers (or None) as such."""
    if array.dtype.kind == "O" and all(
        value is None or isinstance(value, int | float | np.number | np.bool_) for value in array.flat
    ):
        return array.astype(np.float64)
    flat = array.reshape(len(array), -1)
    row, column = next(
        (row, column)
        for row in range(flat.shape[0])
        for column in range(flat.shape[1])
        if not isinstance(flat[row, column], int | float | np.number | np.bool_ | None)
    )
    name = names[column] if names is not None and column < len(names) else f"x{column}"
    raise _not_numeric(name, flat[row, column], row, source)


def _not_numeric(name: str, value: Any, row: int, source: str) -> InputError:
    kind = "text" if isinstance(value, str | np.str_) else f"{type(value).__name__} values"
    return InputError(
        PLACE,
        expected=f"numbers in column '{name}' of {source}",
        found=f"{kind}: {str(value)[:40]!r} in row {row + 1}",
        remedy=f"Leave it out with `data.drop: [{name}]`, or encode it as numbers in a data function.",
    )


def _refuse_infinite(array: NDArray[np.float32], names: tuple[str, ...] | None, source: str) -> None:
    if not np.isinf(array).any():
        return
    rows = np.isinf(array).reshape(len(array), -1)
    row = int(rows.any(axis=1).argmax())
    column = int(rows[row].argmax())
    where = f"column '{names[column]}'" if names is not None else f"element {column}"
    raise InputError(
        PLACE,
        expected=f"finite numbers that float32 can hold in {source}",
        found=f"{int(rows.sum())} infinite values, the first in {where} of row {row + 1}",
        remedy="Clip or rescale them, or leave them empty: a missing value is replaced by the training mean.",
    )

"""Inputs as float32, or an error that names the column.

Missing values stay NaN, which the preprocessing inside the model replaces. Text, infinite values and values that
float32 merges are refused here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.labels import is_number
from winnow.data.names import refuse_double_names
from winnow.data.precision import refuse_merged
from winnow.data.raw import as_array, is_frame

if TYPE_CHECKING:
    import pandas as pd

PLACE = "data.source"
NUMERIC_KINDS = "buif"
LARGEST_EXACT_IN_FLOAT64 = 2**53
NUMBERS = (bool, int, float, Decimal, np.bool_, np.integer, np.floating)
"""Types of real numbers in arrays of objects."""


def convert_features(
    features: Any, names: tuple[str, ...] | None, source: str
) -> tuple[NDArray[np.float32], tuple[str, ...] | None]:
    """Inputs as float32 [rows, *input_shape], and the names of the columns of tabular data.

    Args:
        features: a DataFrame, or an array; [rows] counts as [rows, 1].
        names: the source's names for the columns; by default a DataFrame's own.

    Raises:
        InputError: no rows, no columns, a column without values, text, infinite values, values that float32 merges, or
            names that are not one per column.
    """
    frame = features if is_frame(features) else None
    if frame is not None:
        own = tuple(str(name) for name in frame.columns)
        refuse_double_names(own, source)
        names, shape = names or own, frame.shape
    else:
        array: NDArray[Any] = as_array(features, PLACE)
        array = array[:, np.newaxis] if array.ndim == 1 else array
        shape = array.shape
    if math.prod(shape) == 0:
        raise InputError(
            PLACE,
            expected=f"rows and feature columns in {source}",
            found=f"{shape[0]} rows of shape {shape[1:]}",
            remedy="Check its content, and `data.drop`.",
        )
    is_tabular = len(shape) == 2
    if is_tabular and names is None:
        names = tuple(f"x{index}" for index in range(shape[1]))
    if names is not None and (not is_tabular or len(names) != shape[1]):
        raise InputError(
            PLACE,
            expected=f"one feature name for each column of {source}; none for tensors",
            found=f"{len(names)} names for rows of shape {shape[1:]}",
            remedy="Correct `feature_names`.",
        )
    refuse_double_names(names or (), source)
    if names is not None and "" in names:
        expected, found = f"a name for every column of {source}", f"none for column {names.index('') + 1}"
        raise InputError(PLACE, expected=expected, found=found, remedy="Name it.")
    result = _from_array(array, names, source) if frame is None else _from_frame(frame, source)
    if names is not None and (is_empty := np.isnan(result).all(axis=0)).any():
        name = names[is_empty.argmax()]
        raise InputError(
            PLACE,
            expected=f"a value in every column of {source}",
            found=f"none in column '{name}'",
            remedy=f"Fill it in, or leave it out with `data.drop: [{name}]`.",
        )
    return np.ascontiguousarray(result), names


def _from_frame(frame: pd.DataFrame, source: str) -> NDArray[np.float32]:
    result = np.empty(frame.shape, dtype=np.float32)
    for index, name in enumerate(frame.columns):
        numbers = _from_column(frame.iloc[:, index], str(name), source)
        result[:, index] = _as_float32(numbers, str(name), f"column '{name}'", source)
    return result


def _from_column(column: Any, name: str, source: str) -> NDArray[Any]:
    """A column's numbers in a type that holds them exactly; a missing one is NaN, or None among objects."""
    import pandas as pd

    if isinstance(column.dtype, pd.ArrowDtype) and column.dtype.kind != "O":
        column = column.convert_dtypes(dtype_backend="numpy_nullable")
    if isinstance(column.dtype, pd.CategoricalDtype | pd.ArrowDtype):
        column = column.astype(object)
    is_present = column.notna().to_numpy()
    if not is_present.any():
        return np.full(len(column), np.nan, dtype=np.float32)
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
        values = np.array(column, dtype=object)
        row = _first_mistake(values, is_present)
        if row is not None:
            raise _not_numeric(name, values[row], row, source)
        values[~is_present] = None
        return values
    array: NDArray[Any]
    if is_present.all():
        array = column.to_numpy(dtype=getattr(column.dtype, "numpy_dtype", None))
    elif pd.api.types.is_integer_dtype(column) and column.abs().max() > LARGEST_EXACT_IN_FLOAT64:
        array = column.to_numpy(dtype=object, na_value=None)
    else:
        array = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def _first_mistake(values: NDArray[Any], is_present: NDArray[np.bool_]) -> int | None:
    """The row of the first value that is not a number; if all texts are numbers, the row of the first text.

    A CSV column with one `?` arrives as text, and the error has to name the `?`.
    """
    present = [(row, value) for row, value in enumerate(values) if is_present[row]]
    texts = [(row, value) for row, value in present if isinstance(value, str)]
    are_numbers = {row for row, value in texts if is_number(value)}
    mistakes = (row for row, value in present if not isinstance(value, NUMBERS) and row not in are_numbers)
    return next(mistakes, texts[0][0] if texts else None)


def _from_array(array: NDArray[Any], names: tuple[str, ...] | None, source: str) -> NDArray[np.float32]:
    if array.dtype.kind not in NUMERIC_KINDS:
        import pandas as pd

        flat = np.empty(array.size, dtype=object)
        flat[:] = list(array.flat)  # `astype(object)` would make integers of times
        mistake = _first_mistake(flat, ~pd.isna(flat))
        if mistake is not None:
            row, column = divmod(mistake, array[0].size)
            name = names[column] if names is not None else f"x{column}"
            raise _not_numeric(name, flat[mistake], row, source)
        array = flat.reshape(array.shape)
    result = np.empty(array.shape, dtype=np.float32)
    for index, name, where in _parts(array, names):
        result[index] = _as_float32(array[index], name, where, source)
    return result


def _parts(array: NDArray[Any], names: tuple[str, ...] | None) -> Iterator[tuple[Any, str | None, str]]:
    """The index, name and description of each part that is standardized on its own (see `preprocessing`)."""
    if names is not None:
        for column, name in enumerate(names):
            yield (slice(None), column), name, f"column '{name}'"
    elif array.ndim == 3:
        yield ..., None, "the features"
    else:
        for channel in range(array.shape[1]):
            yield (slice(None), channel), None, f"channel {channel + 1}"


def _as_float32(values: NDArray[Any], name: str | None, where: str, source: str) -> NDArray[np.float32]:
    """Cast one part; refuse infinite values, and values that become equal."""
    is_missing, numbers = np.zeros(values.shape, dtype=bool), values
    if values.dtype == object:
        import pandas as pd

        is_missing = pd.isna(values)
        numbers = np.array(values[~is_missing].tolist())
    result = np.full(values.shape, np.nan, dtype=np.float32)
    with np.errstate(over="ignore"):  # too large values become infinite and are refused below
        result[~is_missing] = numbers.astype(np.float32).ravel()
    infinite = np.isinf(result).reshape(len(result), -1)
    if infinite.any():
        raise InputError(
            PLACE,
            expected=f"finite numbers that float32 can hold in {source}",
            found=f"{infinite.sum()} infinite in {where}, the first in row {infinite.any(axis=1).argmax() + 1}",
            remedy="Clip or rescale them, or leave them empty: a missing value is replaced by the training mean.",
        )
    leave_out = f", or leave it out with `data.drop: [{name}]`" if name is not None else ""
    remedy = f"Subtract a constant (the first time, the smallest id) before it is read{leave_out}."
    refuse_merged(numbers, where, PLACE, source, remedy)
    return result


def _not_numeric(name: str, value: Any, row: int, source: str) -> InputError:
    kind = "text" if isinstance(value, str | np.str_) else f"{type(value).__name__} values"
    return InputError(
        PLACE,
        expected=f"numbers in column '{name}' of {source}",
        found=f"{kind}: {str(value)[:40]!r} in row {row + 1}",
        remedy=f"Correct the value, leave it empty, encode the column as numbers, or set `data.drop: [{name}]`.",
    )

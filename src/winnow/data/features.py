"""Inputs as float32, or an error that names the column.

A table's columns are encoded by the column codec (`winnow.bundle.columns`). Missing values stay NaN, which the
preprocessing inside the model replaces. Text in arrays, infinite values and values that float32 merges are refused
here. Of inputs that stay where they are and are fetched by rows, no more than some megabytes are held at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column, ColumnValueError, Kind, category_text, slices_of, width_of
from winnow.config.errors import InputError
from winnow.data.columns import moments_in, plain_column, recognize, wrong_value
from winnow.data.labels import is_number, is_whole
from winnow.data.raw import NUMBERS, as_array, is_frame, is_tensor
from winnow.data.refusals import refuse_double_names, refuse_merged
from winnow.data.rows import IN_MEMORY_BYTES, ArrayRows, Load, RowSource, rows_in, spread

if TYPE_CHECKING:
    import pandas as pd

PLACE = "data.source"
NUMERIC_KINDS = "buif"
LARGEST_EXACT_IN_FLOAT64 = 2**53
SAMPLED_BYTES = 2**24
"""Fetched rows that are looked at for values that float32 merges."""


@dataclass(frozen=True, eq=False)
class Features:
    """Inputs that can be trained on.

    Attributes:
        values: float32 [rows, *shape]; encoded for a DataFrame.
        names: of the columns of tabular data; None for tensors.
        columns: what each column of a DataFrame holds; None for arrays.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...] | None
    columns: tuple[Column, ...] | None


def convert_features(
    features: Any,
    names: tuple[str, ...] | None,
    source: str,
    kinds: Mapping[str, Kind] | None = None,
    time: NDArray[np.generic] | None = None,
) -> Features:
    """Encode inputs.

    Args:
        features: a DataFrame, or an array; [rows] counts as [rows, 1].
        names: the source's names for the columns; by default a DataFrame's own.
        kinds: of a DataFrame's columns, where they are not recognized from the values.
        time: one value per row, which orders the rows.

    Raises:
        InputError: no rows, no columns, a column without values, columns that cannot be used, text in an array,
            infinite values, values that float32 merges, or names that are not one per column.
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
    names = _checked_names(names, shape, source)
    if frame is not None:
        columns = recognize(frame, kinds or {}, source, time)
        return Features(_from_frame(frame, columns, source), names, columns)
    result = _from_array(array, names, source)
    if names is not None and (is_empty := np.isnan(result).all(axis=0)).any():
        name = names[is_empty.argmax()]
        raise InputError(
            PLACE,
            expected=f"a value in every column of {source}",
            found=f"none in column '{name}'",
            remedy=f"Fill it in, or leave it out with `data.drop: [{name}]`.",
        )
    return Features(np.ascontiguousarray(result), names, None)


def _checked_names(names: tuple[str, ...] | None, shape: tuple[int, ...], source: str) -> tuple[str, ...] | None:
    """The names of tabular data's columns, one each; None for tensors."""
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
    return names


def _from_frame(frame: pd.DataFrame, columns: tuple[Column, ...], source: str) -> NDArray[np.float32]:
    result = np.empty((len(frame), width_of(columns)), dtype=np.float32)
    for index, (column, part) in enumerate(zip(columns, slices_of(columns), strict=True)):
        values = plain_column(frame.iloc[:, index])
        if column.kind == "number":
            numbers = _numbers_of(values, column.name, source)
            result[:, part.start] = _as_float32(numbers, column.name, f"column '{column.name}'", source)
        else:
            result[:, part] = _encoded(values, column, source)
    return result


def _encoded(values: Any, column: Column, source: str) -> NDArray[np.float64]:
    """A column of another kind than `number`, encoded value by distinct value."""
    import pandas as pd

    if column.kind == "date" and pd.api.types.is_datetime64_any_dtype(values.dtype):
        return column.encode(moments_in(values))
    if column.kind == "category" and values.dtype == object:
        values = values.map(category_text, na_action="ignore")  # as objects, True and 1 are one value
    codes, distinct = pd.factorize(values)
    try:
        numbers = column.encode(distinct)
    except ColumnValueError as error:
        wrong, row = distinct[error.row], int((codes == error.row).argmax())
        raise wrong_value(column.name, error.expected, wrong, row, source) from error
    missing = np.full((1, column.width), np.nan)
    encoded: NDArray[np.float64] = np.concatenate([numbers, missing])[codes]
    return encoded


def _numbers_of(values: Any, name: str, source: str) -> NDArray[Any]:
    """A column's numbers in a type that holds them exactly; a missing one is NaN, or None among objects."""
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    is_present = values.notna().to_numpy()
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_complex_dtype(values):
        objects = np.array(values, dtype=object)
        objects[~is_present] = None
        texts = [value for value in objects if isinstance(value, str)]
        if texts and all(is_number(text) for text in texts):
            objects = np.array([_number(value) if isinstance(value, str) else value for value in objects], dtype=object)
        row = _first_mistake(objects, is_present)
        if row is not None:
            raise wrong_value(name, "numbers", objects[row], row, source)
        return objects
    array: NDArray[Any]
    if is_present.all():
        array = values.to_numpy(dtype=getattr(values.dtype, "numpy_dtype", None))
    elif pd.api.types.is_integer_dtype(values) and values.abs().max() > LARGEST_EXACT_IN_FLOAT64:
        array = values.to_numpy(dtype=object, na_value=None)
    else:
        array = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def _number(text: str) -> int | float:
    return int(text) if is_whole(text) else float(text)


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
            raise wrong_value(name, "numbers", flat[mistake], row, source)
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


def fetched(features: Any, load: Load, source: str) -> RowSource | None:
    """The rows of features that stay where they are; None where they are to lie in memory.

    Args:
        features: a memory-mapped array or a `RowSource` may stay, and with `lazy` any array or tensor.
        load: `data.load`.

    Raises:
        InputError: `lazy` for a table.
    """
    if load == "memory":
        return None
    if load == "lazy" and is_tensor(features):
        features = features.detach().cpu().numpy()
    if load == "lazy" and not isinstance(features, np.ndarray | RowSource):
        kind = "a table" if is_frame(features) else f"a value of type {type(features).__name__}"
        raise InputError(
            "data.load",
            expected="an array, images or a torch Dataset, which are fetched by rows",
            found=f"{kind} from {source}",
            remedy="Leave `data.load` out.",
        )
    is_mapped = isinstance(features, np.memmap | RowSource)
    if load != "lazy" and not (is_mapped and 4 * math.prod(features.shape) > IN_MEMORY_BYTES):
        return None
    if isinstance(features, RowSource):
        return features
    if features.dtype.kind not in NUMERIC_KINDS:
        expected, found = f"numbers in {source}", f"values of type {features.dtype}"
        raise InputError(PLACE, expected=expected, found=found, remedy="Convert them before they are written.")
    return ArrayRows(features)


def check_fetched(rows: RowSource, names: tuple[str, ...] | None, source: str, raw: Any) -> tuple[str, ...] | None:
    """Refuse rows that cannot be trained on; the names of the columns, or None for tensors.

    Args:
        raw: the array behind them, if there is one.

    Raises:
        InputError: no rows, a column without values, infinite values, values that float32 merges, or names that are
            not one per column.
    """
    names = _checked_names(names, rows.shape, source)
    if not isinstance(raw, np.ndarray) or raw.dtype.kind not in "bui":
        _refuse_infinite_and_empty(rows, names, source)
    if isinstance(raw, np.ndarray) and not np.can_cast(raw.dtype, np.float32):
        chosen = spread(len(raw), rows_in(SAMPLED_BYTES, raw.shape))
        sample = np.asarray(raw[chosen]).reshape(-1, *rows.shape[1:])
        parts = [(f"column '{name}'", sample[:, column]) for column, name in enumerate(names or ())]
        for where, values in parts or [("the features", sample)]:
            refuse_merged(values, where, PLACE, source, "Subtract a constant, or store them as float32.")
    return names


def _refuse_infinite_and_empty(rows: RowSource, names: tuple[str, ...] | None, source: str) -> None:
    is_empty = np.ones(rows.shape[1:], dtype=bool)
    start = 0
    for block in rows.blocks():
        infinite = np.isinf(block).reshape(len(block), -1).any(axis=1)
        if infinite.any():
            raise InputError(
                PLACE,
                expected=f"finite numbers that float32 can hold in {source}",
                found=f"an infinite one in row {start + int(infinite.argmax()) + 1}",
                remedy="Clip or rescale them, or leave them empty: a missing value is replaced by the training mean.",
            )
        is_empty &= np.isnan(block).all(axis=0)
        start += len(block)
    if names is not None and is_empty.any():
        raise InputError(
            PLACE,
            expected=f"a value in every column of {source}",
            found=f"none in column '{names[is_empty.argmax()]}'",
            remedy="Leave the column out.",
        )

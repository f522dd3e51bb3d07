"""Decide which inputs stay where they are and are fetched by rows, and check them as `features` checks those in memory.

Nothing here holds more than some megabytes of the rows at once.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.precision import refuse_merged
from winnow.data.raw import is_frame, is_tensor
from winnow.data.rows import IN_MEMORY_BYTES, ArrayRows, RowSource, rows_in, spread

PLACE = "data.source"
NUMERIC_KINDS = "buif"
SAMPLED_BYTES = 2**24
"""Rows that are looked at for values that float32 merges."""

Load = Literal["auto", "memory", "lazy"]


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
    if load == "lazy" or (is_mapped and 4 * math.prod(features.shape) > IN_MEMORY_BYTES):
        return features if isinstance(features, RowSource) else ArrayRows(_numbers(features, source))
    return None


def check_fetched(rows: RowSource, names: tuple[str, ...] | None, source: str, raw: Any) -> tuple[str, ...] | None:
    """Refuse rows that cannot be trained on; the names of the columns, or None for tensors.

    Args:
        raw: the array behind them, if there is one.

    Raises:
        InputError: no rows, a column without values, infinite values, values that float32 merges, or names that are
            not one per column.
    """
    if math.prod(rows.shape) == 0:
        expected, found = f"rows in {source}", f"{rows.shape[0]} rows of shape {rows.shape[1:]}"
        raise InputError(PLACE, expected=expected, found=found, remedy="Check its content.")
    is_tabular = rows.ndim == 2
    if is_tabular and names is None:
        names = tuple(f"x{index}" for index in range(rows.shape[1]))
    if names is not None and (not is_tabular or len(names) != rows.shape[1]):
        raise InputError(
            PLACE,
            expected=f"one feature name for each column of {source}; none for tensors",
            found=f"{len(names)} names for rows of shape {rows.shape[1:]}",
            remedy="Correct `feature_names`.",
        )
    if isinstance(raw, np.ndarray) and raw.dtype.kind in "bui":
        _refuse_merged(raw, names, source)
        return names
    _refuse_infinite_and_empty(rows, names, source)
    if isinstance(raw, np.ndarray):
        _refuse_merged(raw, names, source)
    return names


def _numbers(array: NDArray[Any], source: str) -> NDArray[Any]:
    if array.dtype.kind not in NUMERIC_KINDS:
        raise InputError(
            PLACE,
            expected=f"numbers in {source}",
            found=f"values of type {array.dtype}",
            remedy="Convert them before they are written.",
        )
    return array


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


def _refuse_merged(array: NDArray[Any], names: tuple[str, ...] | None, source: str) -> None:
    """Refuse values that float32 merges, in a sample of the rows."""
    if np.can_cast(array.dtype, np.float32):
        return
    sample = np.asarray(array[spread(len(array), rows_in(SAMPLED_BYTES, array.shape))])
    parts = [(f"column '{name}'", sample[:, column]) for column, name in enumerate(names or ())]
    for where, values in parts or [("the features", sample)]:
        refuse_merged(values, where, PLACE, source, "Subtract a constant, or store them as float32.")

"""Groups, which tie rows together, times, which order them, and weights, in one form for every source.

Whole numbers become int64, times datetime64 in microseconds (UTC), other groups text. So the digest of the data does
not depend on whether a file keeps types (Parquet) or text (CSV).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.raw import as_array
from winnow.data.refusals import is_empty_text, refuse_lookalikes, refuse_missing


def convert_groups(groups: Any, source: str) -> NDArray[np.generic]:
    """int64 or text [rows].

    Raises:
        InputError: missing values, more than one value for a row, or groups that differ only in white space.
    """
    array = _one_per_row(groups, "data.group", source)
    if array.dtype.kind in "iuf" and (whole := _whole(array)) is not None:
        return whole
    texts: NDArray[np.str_] = array.astype(np.str_)
    refuse_lookalikes(np.unique(texts).tolist(), "groups", "data.group", source)
    return texts


def convert_time(time: Any, source: str) -> NDArray[np.generic]:
    """int64, float64 or datetime64[us] [rows]; text is read as ISO 8601, in UTC unless it names a zone.

    Raises:
        InputError: missing values, more than one value for a row, or a text that is not a time.
    """
    array = _one_per_row(time, "data.time", source)
    if array.dtype.kind in "iuf":
        whole = _whole(array)
        return array.astype(np.float64) if whole is None else whole
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]")
    import pandas as pd

    times = pd.to_datetime(pd.Series(array), format="ISO8601", utc=True, errors="coerce")
    if times.isna().any():
        row = int(times.isna().to_numpy().argmax())
        raise InputError(
            "data.time",
            expected=f"numbers, or dates in ISO 8601 (2026-11-21T09:30) in {source}",
            found=f"{str(array[row])[:40]!r} in row {row + 1}",
            remedy="Write times in this form, or convert them in a data function.",
        )
    return times.dt.tz_localize(None).to_numpy(dtype="datetime64[us]")


def convert_weights(weights: Any, source: str) -> NDArray[np.float32]:
    """float32 [rows]. Raises InputError for missing values, others than numbers of at least 0, or none above 0."""
    array = _one_per_row(weights, "data.weight", source)
    expected = f"a finite number of at least 0 for every row of {source}"
    remedy = "Correct it, or name another column."
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        found = f"values of type {array.dtype}" if array.dtype.kind != "O" else f"'{error}'"
        raise InputError("data.weight", expected=expected, found=found, remedy=remedy) from error
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError("data.weight", expected=expected, found=f"{numbers[row]:g} in row {row + 1}", remedy=remedy)
    if not numbers.any():
        raise InputError("data.weight", expected="a weight above 0", found="0 in every row", remedy=remedy)
    return numbers.astype(np.float32)


def _one_per_row(values: Any, place: str, source: str) -> NDArray[Any]:
    import pandas as pd

    array: NDArray[Any] = as_array(values, place)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        expected, found = f"one value for each row of {source}", f"shape {array.shape}"
        raise InputError(place, expected=expected, found=found, remedy="Combine the columns into one.")
    refuse_missing(pd.isna(array) | is_empty_text(array), place, source)
    return array


def _whole(array: NDArray[Any]) -> NDArray[np.int64] | None:
    """Numbers as int64, or None if that would change one of them."""
    if array.dtype.kind == "f" and not bool(np.all(array == np.round(array)) and np.all(np.abs(array) < 2**53)):
        return None
    return array.astype(np.int64)

"""Groups and times: what ties rows together and what orders them, in one form whatever the source's types.

Whole numbers become int64, times datetime64 in microseconds (UTC), other groups text, so that the digest of the data
does not depend on whether a file kept types (Parquet) or text (CSV).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.names import lookalikes
from winnow.data.raw import as_array


def convert_groups(groups: Any, source: str) -> NDArray[np.generic]:
    """int64 or text [rows].

    Raises:
        InputError: missing values, more than one value for a row, or groups that differ only in white space.
    """
    array = _one_per_row(groups, "data.group", source)
    if array.dtype.kind in "iuf" and (whole := _whole(array)) is not None:
        return whole
    texts: NDArray[np.str_] = array.astype(np.str_)
    pair = lookalikes(np.unique(texts).tolist())
    if pair is not None:
        raise InputError(
            "data.group",
            expected=f"groups of {source} that a person can tell apart",
            found=f"{pair[0]!r} and {pair[1]!r}, which differ only in white space or invisible characters",
            remedy="Write them alike, or give them different names.",
        )
    return texts


def convert_time(time: Any, source: str) -> NDArray[np.generic]:
    """int64, float64 or datetime64[us] [rows]; text is read as ISO 8601, without a zone as UTC.

    Raises:
        InputError: missing values, more than one value for a row, or something that is no time.
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


def _one_per_row(values: Any, place: str, source: str) -> NDArray[Any]:
    import pandas as pd

    array = as_array(values, place)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(
            place,
            expected=f"one value for each row of {source}",
            found=f"shape {array.shape}",
            remedy="Combine the columns into one.",
        )
    missing = pd.isna(array) | np.array([isinstance(value, str) and value == "" for value in array], dtype=bool)
    if missing.any():
        raise InputError(
            place,
            expected=f"a value in every row of {source}",
            found=f"{int(missing.sum())} missing, the first in row {int(missing.argmax()) + 1}",
            remedy="Remove these rows, or fill them in.",
        )
    return array  # type: ignore[no-any-return]


def _whole(array: NDArray[Any]) -> NDArray[np.int64] | None:
    """Numbers as int64, or None where that would change one of them."""
    if array.dtype.kind == "f" and not bool(np.all(array == np.round(array)) and np.all(np.abs(array) < 2**53)):
        return None
    return array.astype(np.int64)

"""The refusal of rows without a value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError


def refuse_missing(missing: NDArray[np.bool_], place: str, source: str, detail: str = "") -> None:
    """Refuse rows without a value.

    Args:
        missing: [rows, ...], true where a value is missing.
        detail: added to the message after the number of the first such row.
    """
    if missing.any():
        rows = missing.reshape(len(missing), -1).any(axis=1)
        raise InputError(
            place,
            expected=f"a value in every row of {source}",
            found=f"{int(rows.sum())} missing, the first in row {int(rows.argmax()) + 1}{detail}",
            remedy="Remove these rows, or fill them in.",
        )


def is_empty_text(array: NDArray[Any]) -> NDArray[np.bool_]:
    """True where an array of objects holds an empty text."""
    return np.array([isinstance(value, str) and value == "" for value in array.flat], dtype=bool).reshape(array.shape)

"""Values that float32, the type of a model's inputs and outputs, cannot tell apart.

float32 has 24 bits. Times in epoch milliseconds, ids and counters above 16,777,216 lie closer together than that:
values that differ become equal before the model standardizes them, in training as in a client's request.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError

LARGEST_EXACT_WHOLE = 2**24
TOLERATED_ERROR = 2**-10
"""Rounding errors up to this share of the standard deviation do not change a measurement."""
TOLERATED_LOSS = 0.1
"""The share of distinct whole numbers that may merge: a few among many thousands are normal, a tenth is a loss."""


def merged_values(values: NDArray[Any]) -> tuple[int, int] | None:
    """How many distinct values there are, and how many of them float32 tells apart; None if it loses nothing.

    Measurements may merge while they lie close together for their spread: among many random numbers some always do.
    Whole numbers are often identifiers, so they are counted whatever their spread.

    Args:
        values: numbers of any type; NaN where one is missing, none infinite.
    """
    if np.can_cast(values.dtype, np.float32):
        return None
    present = values[~np.isnan(values)] if values.dtype.kind == "f" else values.ravel()
    if present.size == 0:
        return None
    exact = present.astype(np.float64)
    error = 2 * np.abs(exact - exact.astype(np.float32)).max()
    is_coarse = bool(error > TOLERATED_ERROR * exact.std())
    is_large_whole = bool(np.abs(exact).max() > LARGEST_EXACT_WHOLE and np.all(exact == np.round(exact)))
    if not is_coarse and not is_large_whole:
        return None
    distinct = np.unique(present)
    kept = len(np.unique(distinct.astype(np.float32)))
    is_lost = kept < len(distinct) and (is_coarse or kept < (1 - TOLERATED_LOSS) * len(distinct))
    return (len(distinct), kept) if is_lost else None


def refuse_merged(values: NDArray[Any], where: str, place: str, source: str, remedy: str) -> None:
    """Refuse distinct values that float32 makes equal. `where` names what holds them ("column 't'")."""
    counts = merged_values(values)
    if counts is not None:
        raise InputError(
            place,
            expected=f"values in {where} of {source} that stay different as float32, the type that models compute in",
            found=f"{counts[0]} different values, of which float32 can tell {counts[1]} apart",
            remedy=remedy,
        )

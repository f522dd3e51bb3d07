"""What float32, the type of a model's inputs and outputs, cannot tell apart.

It has 24 bits: times in epoch milliseconds, ids and counters above 16,777,216 lie closer together than that. Merged
values are lost before the model standardizes them, and a client that sends them cannot be understood either.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError

LARGEST_EXACT_WHOLE = 2**24
TOLERATED_ERROR = 2**-10
"""The rounding error, as a part of the standard deviation, up to which a measurement counts as the same."""
TOLERATED_LOSS = 0.1
"""The share of different whole numbers that may merge: a few among many thousands are normal, a tenth is a loss."""


def merged_values(values: NDArray[Any]) -> tuple[int, int] | None:
    """How many different values there are, and how many of them float32 tells apart; None where it loses nothing.

    Values of a measurement may merge while they lie close together for their spread: among many random numbers some
    always do. Whole numbers often stand for themselves, whatever their spread.

    Args:
        values: numbers of any type, NaN where one is missing, none infinite.
    """
    is_exact = np.can_cast(values.dtype, np.float32)
    if is_exact or values.size == 0:
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
    different = np.unique(present)
    kept = np.unique(different.astype(np.float32))
    is_lost = len(kept) < len(different) and (is_coarse or len(kept) < (1 - TOLERATED_LOSS) * len(different))
    return (len(different), len(kept)) if is_lost else None


def refuse_merged(values: NDArray[Any], where: str, place: str, source: str, remedy: str) -> None:
    """Refuse values that float32 merges.

    Args:
        values: as `merged_values` takes them.
        where: what holds them ("column 't'").

    Raises:
        InputError: different values would become equal.
    """
    counts = merged_values(values)
    if counts is None:
        return
    different, kept = counts
    raise InputError(
        place,
        expected=f"values in {where} of {source} that stay different as float32, the type that models compute in",
        found=f"{different} different values, of which float32 can tell {kept} apart",
        remedy=remedy,
    )

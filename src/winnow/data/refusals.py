"""Refuse names, missing values and numbers that would be misread later.

Readers rename a second column of the same name (`target` becomes `target.1`), which can turn a copy of the target into
a feature, so column names are checked before a reader sees them. float32, the type of a model's inputs and outputs, has
24 bits. Times in epoch milliseconds, ids and counters above 16,777,216 lie closer together than that: values that
differ become equal before the model standardizes them, in training as in a client's request.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError

PLACE = "data.source"
LARGEST_EXACT_WHOLE = 2**24
TOLERATED_ERROR = 2**-10
"""Rounding errors up to this share of the standard deviation do not change a measurement."""
TOLERATED_LOSS = 0.1
"""The share of distinct whole numbers that may merge: a few among many thousands are normal, a tenth is a loss."""


def refuse_double_names(names: Iterable[str], source: str) -> None:
    """Refuse column names that are equal or look equal.

    Args:
        names: the names of all columns; "" is a column without a name and may repeat.

    Raises:
        InputError: two names are equal or look equal, or a name is only white space.
    """
    given = [name for name in names if name]
    if not all(_visible(name) for name in given):
        expected = f"a name for every column of {source}"
        raise InputError(PLACE, expected=expected, found="a name of white space only", remedy="Name the column.")
    pair = _lookalikes(given)
    if pair is not None:
        raise InputError(
            PLACE,
            expected=f"a unique name for every column of {source}",
            found=f"two columns named '{pair[0]}'"
            if pair[0] == pair[1]
            else f"names that differ only in white space or invisible characters: {pair[0]!r} and {pair[1]!r}",
            remedy="Rename or remove one of them; a join leaves such copies.",
        )


def refuse_lookalikes(labels: Iterable[str], what: str, place: str, source: str) -> None:
    """Refuse distinct labels (`what` says of what: "classes") that a person cannot tell apart."""
    pair = _lookalikes(labels)
    if pair is not None:
        raise InputError(
            place,
            expected=f"{what} of {source} that a person can tell apart",
            found=f"{pair[0]!r} and {pair[1]!r}, which differ only in white space or invisible characters",
            remedy="Write them alike, or give them different names.",
        )


def _lookalikes(texts: Iterable[str]) -> tuple[str, str] | None:
    """The first two texts that differ at most in white space, a byte order mark or composed characters."""
    seen: dict[str, str] = {}
    for text in texts:
        key = _visible(text)
        if key in seen:
            return seen[key], text
        seen[key] = text
    return None


def _visible(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).replace("\ufeff", "").split())


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

"""The column codec: a table's raw values to the numbers that a model's graph takes, and back.

Encoding fits nothing: which categories are rare, what a mean is, and what replaces a missing value is part of the
graph. Training, the server and MLflow's pyfunc share this module. A registered model contains a copy of this file, so
it imports numpy alone.

    kind       raw value                                   numbers
    number     a number                                    itself
    boolean    true or false                               1 or 0
    category   a text, a whole number or a boolean         its code in `categories`; -1 where it is unknown
    date       ISO 8601 text, datetime or datetime64       days since 1970-01-01, day of the year from 1, weekday from 0
                                                           (Monday), second of the day; all in UTC

A missing value (None, NaN, NaT, pandas' NA, or a text of `MISSING` that is none of the categories) is NaN in every
number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "boolean", "category", "date"]
DType = Literal["double", "long", "boolean", "string", "date", "datetime"]
MISSING = frozenset(
    {"", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"}
    | {"NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)
"""Texts that stand for a missing value, in training data as in requests: those of pandas' CSV, and so of MLflow."""
UNKNOWN = -1.0
"""The code of a category that the training data does not have."""
DATE_NUMBERS = 4
_EPOCH = datetime(1970, 1, 1)
# A tuple is made once, a union of types at every check.
_PLAIN, _BOOLEANS, _INTEGERS = (str, bool, int), (bool, np.bool_), (int, np.integer)
_FLOATS, _REALS, _NO_NUMBERS = (float, np.floating), (int, float, np.number), (bool, np.bool_, str, bytes)


class ColumnValueError(ValueError):
    """A value that its column does not take.

    Attributes:
        row: its index in the values.
        expected: what the column takes, as a phrase after "expected". The value itself is not part of it.
    """

    def __init__(self, row: int, expected: str) -> None:
        super().__init__(f"row {row}: expected {expected}")
        self.row, self.expected = row, expected


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        dtype: the type of its raw values, for schemas; `date` has no time of the day.
        categories: the text of each code, for the kind `category`.
    """

    name: str
    kind: Kind = "number"
    dtype: DType = "double"
    categories: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers encode one value."""
        return DATE_NUMBERS if self.kind == "date" else 1

    def encode(self, values: Iterable[Any]) -> NDArray[np.float64]:
        """Raw values, [rows], as numbers, [rows, width]; their range is the caller's to check.

        Raises ColumnValueError for the first value that the column does not take.
        """
        if self.kind == "date" and isinstance(values, np.ndarray) and values.dtype.kind == "M":
            return _date_matrix(values)
        numbers = (self._numbers_of(row, value) for row, value in enumerate(values))
        return np.fromiter(chain.from_iterable(numbers), dtype=np.float64).reshape(-1, self.width)

    def decode(self, numbers: Sequence[float]) -> Any:
        """The raw value, as JSON has it, of `width` numbers; None where it is missing or an unknown category."""
        first = float(numbers[0])
        if np.isnan(first) or (self.kind == "category" and first < 0):
            return None
        if self.kind == "category":
            text = self.categories[int(first)]
            if self.dtype == "long":
                return int(text)
            return text == "true" if self.dtype == "boolean" else text
        if self.kind == "boolean":
            return first != 0
        if self.kind == "number":
            return int(first) if self.dtype == "long" and first.is_integer() else first
        moment = _EPOCH + timedelta(days=first, seconds=float(numbers[3]))
        return moment.date().isoformat() if self.dtype == "date" else moment.isoformat(timespec="seconds")

    @cached_property
    def _codes(self) -> dict[str, tuple[float, ...]]:
        """The numbers of every text that needs no reading."""
        missing = dict.fromkeys(MISSING, (np.nan,) * self.width) if self.kind != "number" else {}
        return missing | {text: (float(code),) for code, text in enumerate(self.categories)}

    def _numbers_of(self, row: int, value: Any) -> tuple[float, ...]:
        if type(value) is str and (numbers := self._codes.get(value)) is not None:
            return numbers
        if is_missing(value):
            return (np.nan,) * self.width
        if self.kind == "category":
            text = category_text(self._read(value) if isinstance(value, str) else value)
            if text is None:
                raise ColumnValueError(row, "a text, a whole number or a boolean")
            return self._codes.get(text, (UNKNOWN,))
        if self.kind == "date":
            moment = moment_of(value)
            if moment is None:
                raise ColumnValueError(row, "a date in ISO 8601, such as 2026-11-21 or 2026-11-21T09:30:00")
            return date_numbers(moment)
        if self.kind == "boolean":
            truth = boolean_of(value)
            if truth is None:
                raise ColumnValueError(row, "true or false")
            return (float(truth),)
        if isinstance(value, _NO_NUMBERS):
            raise ColumnValueError(row, "a number")
        try:
            return (float(value),)
        except (TypeError, ValueError):
            raise ColumnValueError(row, "a number") from None

    def _read(self, text: str) -> Any:
        """What a text says, so that "3.0" and " 03" are the category 3 where categories are whole numbers."""
        if self.dtype == "string":
            return text
        found = boolean_of(text) if self.dtype == "boolean" else _number_in(text)
        return text if found is None else found


def encode_frame(columns: Sequence[Column], frame: Any) -> NDArray[np.float32]:
    """The numbers of a pandas DataFrame that has the columns, float32 [rows, width]; others are left out.

    Raises:
        KeyError: it lacks one of the columns.
        ValueError: a value that its column does not take; the message names row and column.
    """
    parts = []
    for column in columns:
        values = frame[column.name]
        if column.kind == "number" and values.dtype.kind in "iuf":
            parts.append(values.to_numpy(dtype=np.float64, na_value=np.nan)[:, np.newaxis])
            continue
        try:
            parts.append(column.encode(values.to_numpy() if values.dtype.kind == "M" else values))
        except ColumnValueError as error:
            raise ValueError(f"row {error.row}, column '{column.name}': expected {error.expected}") from None
    return np.concatenate(parts, axis=1).astype(np.float32)


def width_of(columns: Sequence[Column]) -> int:
    """How many numbers encode one row."""
    return sum(column.width for column in columns)


def slices_of(columns: Sequence[Column]) -> list[slice]:
    """Where each column's numbers lie in an encoded row."""
    ends = np.cumsum([column.width for column in columns]).tolist()
    return [slice(end - column.width, end) for column, end in zip(columns, ends, strict=True)]


def decode_row(columns: Sequence[Column], numbers: Sequence[float]) -> dict[str, Any]:
    """A raw row, as JSON has it, by column name."""
    return {column.name: column.decode(numbers[part]) for column, part in zip(columns, slices_of(columns), strict=True)}


def is_missing(value: Any) -> bool:
    """Whether it is None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    if isinstance(value, _PLAIN):
        return False
    # NaN and NaT differ from themselves; pandas' NA gives NA, which has no truth value.
    try:
        return bool(value != value)
    except TypeError:
        return True


def _number_in(text: str) -> int | float | None:
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    return None


def category_text(value: Any) -> str | None:
    """The text under which a category is known: `3` for 3, 3.0 and "3", `true` for True; None for other values."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, _BOOLEANS):
        return "true" if value else "false"
    if isinstance(value, _INTEGERS):
        return str(int(value))
    if isinstance(value, _FLOATS):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return None


def boolean_of(value: Any) -> bool | None:
    """True, 1, "true" and "True" are true; the same for false; None for other values."""
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    if isinstance(value, _BOOLEANS):
        return bool(value)
    return bool(value) if isinstance(value, _REALS) and value in (0, 1) else None


def moment_of(value: Any) -> datetime | None:
    """A time in UTC without its zone; None for a value that is no date. Text is read as ISO 8601."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):  # pandas' Timestamp is one
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None


def _date_matrix(moments: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """`date_numbers` of each time, [rows, 4]; NaN where it is NaT."""
    day, second = np.timedelta64(1, "D"), np.timedelta64(1, "s")
    days = moments.astype("datetime64[D]")
    numbers = (days - np.datetime64(_EPOCH.date())) / day
    day_of_year = (days - days.astype("datetime64[Y]")) / day + 1
    weekday = (numbers + _EPOCH.weekday()) % 7
    return np.stack([numbers, day_of_year, weekday, (moments.astype("datetime64[us]") - days) / second], axis=1)


def date_numbers(moment: datetime) -> tuple[float, float, float, float]:
    """Days since 1970-01-01, day of the year, weekday and second of the day, each exact in float32 to a 64th second."""
    day = moment.toordinal()
    second = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
    day_of_year = day - date(moment.year, 1, 1).toordinal() + 1
    return float(day - _EPOCH.toordinal()), float(day_of_year), float(moment.weekday()), second

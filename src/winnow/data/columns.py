"""Decide what each column of a table holds: numbers, booleans, categories or dates.

The decision looks at all rows of the table, and nothing is fitted: the categories of a column are the texts that occur
in it. What is rare or missing, and what replaces it, is learned from each fold's training rows (`preprocessing`).

    values                                                        column
    numbers, or text that is a number throughout                  number
    booleans, or the texts true and false                         boolean
    datetimes, or text in ISO 8601 throughout                     date
    pandas' categories, or other text with values that repeat     category

Whole numbers have the dtype `long`, also beside missing values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from winnow.bundle.columns import MISSING, Column, DType, Kind, category_text, moment_of
from winnow.config.errors import InputError
from winnow.data.labels import is_number, is_whole, looks_like_classes
from winnow.data.raw import NUMBERS

if TYPE_CHECKING:
    import pandas as pd

PLACE = "data.columns"
FEW_TEXTS = 20
ROWS_PER_TEXT = 2
MOST_TEXTS = 10_000
"""Text is a category with at most 20 values, or with at most 10,000 that have two rows each on average."""
FEWEST_ROWS = 50
DISTINCT = 0.95
"""Whole numbers that differ in 95 % of at least 50 rows are taken for an identifier."""
MOSTLY = 0.5
"""From this share of numbers, or of dates, on, another text is taken for a mistake and not for a category."""
ANY_DATE = re.compile(r"\s*([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4})(?![0-9])")
"""Dates in ISO 8601 and in other forms, which are refused: 03/04/2026 is in March or in April."""


def recognize(
    frame: pd.DataFrame, asked: Mapping[str, Kind], source: str, time: NDArray[np.generic] | None = None
) -> tuple[Column, ...]:
    """What each column of a table holds.

    Args:
        asked: the kinds that the experiment file gives, by column name.
        time: one value per row, which orders the rows; whole numbers in that order are no identifier.

    Raises:
        InputError: a column without values, of an unknown type, with one text among numbers or dates, or with values
            that are not of the kind that was asked for; or the columns that cannot be used, all of them at once.
    """
    columns: list[Column] = []
    unusable: dict[str, str] = {}
    for index, name in enumerate(map(str, frame.columns)):
        values = plain_column(frame.iloc[:, index])
        present = values.dropna()
        if not len(present):
            expected, remedy = f"a value in every column of {source}", f"Fill it in, or {_leave_out(name)}"
            raise InputError("data.source", expected=expected, found=f"none in column '{name}'", remedy=remedy)
        kind = asked.get(name)
        if kind is not None:
            columns.append(_asked(name, kind, present, source))
            continue
        found = _recognized(name, values, present, source)
        if isinstance(found, Column) and found.kind == "number" and _identifies(present, values, time):
            found = "a different whole number in nearly every row"
        if isinstance(found, str):
            unusable[name] = found
        else:
            columns.append(found)
    if unusable:
        raise _refusal(unusable, asked, source)
    return tuple(columns)


def plain_column(column: Any) -> Any:
    """A column in pandas' own types in place of Arrow's, without texts that stand for a missing value."""
    import pandas as pd

    if isinstance(column.dtype, pd.ArrowDtype) and column.dtype.kind != "O":
        column = column.convert_dtypes(dtype_backend="numpy_nullable")
    if isinstance(column.dtype, pd.ArrowDtype):
        column = column.astype(object)
    if not isinstance(column.dtype, pd.StringDtype) and column.dtype != object:
        return column
    texts = column.to_numpy(dtype=object)
    is_missing = np.array([isinstance(text, str) and text in MISSING for text in texts], dtype=bool)
    return column.mask(is_missing) if is_missing.any() else column


def moments_in(column: Any) -> NDArray[np.datetime64]:
    """A column of times, with a zone or without, in UTC."""
    column = column.dt.tz_convert(None) if column.dt.tz is not None else column
    moments: NDArray[np.datetime64] = column.to_numpy(dtype="datetime64[us]")
    return moments


def _recognized(name: str, values: Any, present: Any, source: str) -> Column | str:
    """What a column holds, or why it cannot be used as it is."""
    import pandas as pd

    types, dtype = pd.api.types, values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _category(name, present.unique().tolist(), source)
    if types.is_bool_dtype(dtype):
        return Column(name, "boolean", "boolean")
    if types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
        return _number(name, types.is_integer_dtype(dtype))
    if types.is_datetime64_any_dtype(dtype):
        moments = moments_in(present)
        return Column(name, "date", "date" if (moments == moments.astype("datetime64[D]")).all() else "datetime")
    distinct = _distinct(present)
    kinds = {_kind_of(value) for value in distinct}
    if kinds == {"number"}:
        return _number(name, all(isinstance(value, int | np.integer) for value in distinct))
    if kinds == {"boolean"}:
        return Column(name, "boolean", "boolean")
    if kinds == {"date"}:
        return _date(name, distinct)
    if kinds == {"text"}:
        return _of_texts(name, distinct, values, len(present), source)
    raise _mixture(name, values, source)


def _kind_of(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, NUMBERS):
        return "number"
    return "date" if moment_of(value) is not None else None


def _distinct(present: Any) -> list[Any]:
    try:
        return list(present.unique())
    except TypeError:  # lists and mappings cannot be hashed
        return present.tolist()  # type: ignore[no-any-return]


def _of_texts(name: str, texts: list[str], values: Any, rows: int, source: str) -> Column | str:
    numbers = [text for text in texts if is_number(text)]
    if len(numbers) == len(texts):
        return _number(name, all(is_whole(text) for text in texts))
    if all(text.strip().lower() in ("true", "false") for text in texts):
        return Column(name, "boolean", "boolean")
    dates = [text for text in texts if ANY_DATE.match(text)]
    if len(dates) >= MOSTLY * len(texts):
        wrong = next((text for text in texts if moment_of(text) is None), None)
        if wrong is None:
            return _date(name, texts)
        raise _wrong_value(name, "dates in ISO 8601", wrong, values, source)
    if len(numbers) >= MOSTLY * len(texts) and not looks_like_classes(np.array(numbers, dtype=np.float64)):
        wrong = next(text for text in texts if not is_number(text))
        raise _wrong_value(name, "numbers", wrong, values, source)
    if len(texts) > FEW_TEXTS and (len(texts) * ROWS_PER_TEXT > rows or len(texts) > MOST_TEXTS):
        return f"text with {len(texts)} different values in {rows} rows"
    return _category(name, texts, source)


def _asked(name: str, kind: Kind, present: Any, source: str) -> Column:
    """The column of a kind that the experiment file gives. Values of another kind are refused where they are read."""
    import pandas as pd

    distinct = _distinct(present)
    if kind == "boolean":
        return Column(name, "boolean", "boolean")
    if kind == "date":
        return _date(name, distinct)
    if kind == "category":
        return _category(name, distinct, source)
    return _number(name, pd.api.types.is_integer_dtype(present.dtype))


def _number(name: str, is_whole: bool) -> Column:
    return Column(name, "number", "long" if is_whole else "double")


def _date(name: str, values: Sequence[Any]) -> Column:
    moments = [moment for moment in map(moment_of, values) if moment is not None]
    is_day = all((one.hour, one.minute, one.second, one.microsecond) == (0, 0, 0, 0) for one in moments)
    return Column(name, "date", "date" if is_day else "datetime")


def _category(name: str, values: Sequence[Any], source: str) -> Column:
    texts = {category_text(value): value for value in values}
    if None in texts:
        raise _unknown_type(name, texts[None], source)
    dtype: DType = "string"
    if all(isinstance(value, bool | np.bool_) for value in values):
        dtype = "boolean"
    elif all(is_whole(str(text)) and not isinstance(texts[text], str) for text in texts):
        dtype = "long"
    known = [text for text in texts if text is not None]
    return Column(name, "category", dtype, tuple(sorted(known, key=int) if dtype == "long" else sorted(known)))


def _identifies(present: Any, values: Any, time: NDArray[np.generic] | None) -> bool:
    """Whether whole numbers differ in nearly every row, and do not follow the order in time."""
    import pandas as pd

    if len(present) < FEWEST_ROWS or pd.api.types.is_float_dtype(present.dtype):
        return False
    if present.nunique() < DISTINCT * len(present):
        return False
    numbers = pd.to_numeric(present, errors="coerce").to_numpy(dtype=np.float64)
    if not np.all(numbers == np.round(numbers)):
        return False
    if time is None or len(time) != len(values):
        return True
    order = np.argsort(time[values.notna().to_numpy()], kind="stable")
    steps = np.diff(numbers[order])
    return not (np.all(steps >= 0) or np.all(steps <= 0))


def _refusal(unusable: Mapping[str, str], asked: Mapping[str, Kind], source: str) -> InputError:
    kinds = {**asked, **dict.fromkeys(unusable, "drop")}
    pasted = yaml.safe_dump(kinds, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10_000).strip()
    return InputError(
        PLACE,
        expected=f"numbers that measure, and text that repeats, in every column of {source}",
        found="; ".join(f"'{name}': {reason}" for name, reason in unusable.items()),
        remedy=f"Write `columns: {pasted}` under `data:`. To keep one, write `number` or `category` for its `drop`.",
    )


def _mixture(name: str, values: Any, source: str) -> InputError:
    """The error about values of several kinds; a text among numbers is named."""
    rows = [(row, value, _kind_of(value)) for row, value in enumerate(values) if values.notna().iloc[row]]
    unknown = next((value for _, value, kind in rows if kind is None), None)
    if unknown is not None:
        return _unknown_type(name, unknown, source)
    expected = "numbers" if any(kind == "number" for _, _, kind in rows) else "values of one kind"
    first = "number" if expected == "numbers" else rows[0][2]
    row, value = next((row, value) for row, value, kind in rows if kind != first)
    return wrong_value(name, expected, value, row, source)


def _wrong_value(name: str, expected: str, text: str, values: Any, source: str) -> InputError:
    return wrong_value(name, expected, text, int((values == text).fillna(False).to_numpy().argmax()), source)


def wrong_value(name: str, expected: str, value: Any, row: int, source: str) -> InputError:
    """The error about one value of a column; `row` counts from 0."""
    kind = "text" if isinstance(value, str | np.str_) else f"{type(value).__name__} values"
    return InputError(
        "data.source",
        expected=f"{expected} in column '{name}' of {source}",
        found=f"{kind}: {str(value)[:40]!r} in row {row + 1}",
        remedy=f"Correct the value, leave it empty, set `data.columns: {{{name}: category}}`, or {_leave_out(name)}",
    )


def _unknown_type(name: str, value: Any, source: str) -> InputError:
    return InputError(
        "data.source",
        expected=f"numbers, text, booleans or dates in column '{name}' of {source}",
        found=f"values of type {type(value).__name__}",
        remedy=f"Convert them in a data function, or {_leave_out(name)}",
    )


def _leave_out(name: str) -> str:
    return f"leave it out with `data.columns: {{{name}: drop}}`."

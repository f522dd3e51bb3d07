"""Labels and groups of a CSV file: numbers where that loses nothing, otherwise the text as written.

A CSV file has no types. A reader that guesses turns the code `01` into the number 1 and a class called `None` into a
missing value. Here a column is numeric only if its text and its numbers say the same.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import MISSING
from winnow.config.errors import InputError
from winnow.data.refusals import refuse_missing

FEW_CLASSES = 20
ROWS_PER_CLASS = 5
NUMBER = re.compile(r"\s*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|infinity)\s*", re.IGNORECASE)
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
PADDED = re.compile(r"\s*[+-]?0[0-9]+\s*")
MOSTLY = 0.9
"""From this share of numbers on, a text in the column is taken for a mistake and not for a class."""

Meaning = Literal["auto", "classification", "regression"]


def is_number(text: str) -> bool:
    """Whether pandas reads this text as a number, infinite ones included; `1_000`, `0x1F` and `1,5` are none."""
    return NUMBER.fullmatch(text) is not None


def looks_like_classes(numbers: NDArray[Any]) -> bool:
    """Whether numbers are few and whole: two values, or at most 20 with 5 rows each on average."""
    values = np.unique(numbers)
    are_few = len(values) <= 2 or (len(values) <= FEW_CLASSES and len(values) * ROWS_PER_CLASS <= len(numbers))
    return are_few and bool(np.all(values == np.round(values)))


def typed_labels(texts: NDArray[Any], meaning: Meaning, place: str, source: str) -> NDArray[Any]:
    """The labels of a CSV column as int64, float64, bool, or objects: text, and None where a row has none.

    Labels that say the same as numbers and as text become numbers. Others (`01`, `+1`, `1e3`, `1_000`, ` 1`, `0x1F`)
    stay text, except in a regression target, which is always numeric. Among texts only the empty one is missing: `None`
    may be a class. `auto` takes zero-padded numbers and few whole
    numbers for classes.

    Args:
        texts: [rows], objects: str, or a missing value.
        meaning: what the labels are for; groups are `classification`.
        place: the key that names the column.

    Raises:
        InputError: a missing value among numbers, two labels that are the same number in two forms, or, with `auto`, a
            text in a column of mostly numbers that are too many for classes.
    """
    is_text = np.array([isinstance(text, str) and text != "" for text in texts], dtype=bool)
    values = np.array(texts, dtype=object)
    values[~is_text] = None
    distinct = set(values[is_text].tolist())
    if meaning == "regression" and {text.lower() for text in distinct} <= {"true", "false"}:
        return np.array([None if text is None else text.lower() == "true" for text in values], dtype=object)
    if distinct <= MISSING or not all(is_number(text) or text in MISSING for text in distinct):
        if meaning == "auto":
            _refuse_text_among_numbers(values, place, source)
        return values
    are_whole = all(is_whole(text) for text in distinct - MISSING)
    numbers = {text: int(text) if are_whole else float(text) for text in distinct - MISSING}
    if _are_classes(values, numbers, meaning) and not _are_exact(numbers):
        _refuse_two_texts_of_one_number(numbers, place, source)
        return values
    missing = np.array([text in MISSING for text in values], dtype=bool)
    refuse_missing(missing, place, source, f": '{values[missing.argmax()]}' among numbers")
    if not is_text.all():
        return np.array([np.nan if text is None else numbers[text] for text in values], dtype=np.float64)
    return np.array([numbers[text] for text in values])


def typed_codes(texts: NDArray[Any]) -> NDArray[Any]:
    """The categories of a CSV column as objects: numbers where those say the same (`3.0`, not `03`), else the texts.

    Args:
        texts: [rows], objects: str, or a missing value.
    """
    distinct = {text for text in texts if isinstance(text, str)} - MISSING
    if not all(is_number(text) for text in distinct):
        return texts
    numbers = {text: int(text) if is_whole(text) else float(text) for text in distinct}
    return np.array([numbers.get(text) for text in texts], dtype=object) if _are_exact(numbers) else texts


def is_whole(text: str) -> bool:
    """Whether it is an integer of at most 64 bits, written as Python writes it."""
    return WHOLE.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def _are_classes(values: NDArray[Any], numbers: dict[str, int | float], meaning: Meaning) -> bool:
    if meaning != "auto":
        return meaning == "classification"
    if any(PADDED.fullmatch(text) for text in numbers):
        return True
    return looks_like_classes(np.array([numbers[text] for text in values if text in numbers], dtype=np.float64))


def _are_exact(numbers: dict[str, int | float]) -> bool:
    """Whether every number gives its text back, and no two texts are one number."""
    if len(set(numbers.values())) < len(numbers):
        return False
    return all(int(number) == int(text) if is_whole(text) else repr(number) == text for text, number in numbers.items())


def _refuse_two_texts_of_one_number(numbers: dict[str, int | float], place: str, source: str) -> None:
    """Refuse `1` beside `01`: they may be one class or two."""
    texts: dict[Decimal, str] = {}
    for text in sorted(numbers):
        other = texts.setdefault(Decimal(text.strip()), text)
        if other != text:
            raise InputError(
                place,
                expected=f"labels of one form in {source}",
                found=f"{other!r} and {text!r}, which are the same number",
                remedy="Write them alike.",
            )


def _refuse_text_among_numbers(values: NDArray[Any], place: str, source: str) -> None:
    """Refuse a text among numbers: one `?` must not turn every number into a class."""
    present = [(row, text) for row, text in enumerate(values) if text is not None]
    numbers = [float(text) for _, text in present if is_number(text)]
    if not numbers or len(numbers) < MOSTLY * len(present) or looks_like_classes(np.array(numbers)):
        return
    row, text = next((row, text) for row, text in present if not is_number(text))
    raise InputError(
        place,
        expected=f"numbers in every row of {source}, as in most of them",
        found=f"text: {text[:40]!r} in row {row + 1}",
        remedy="Correct this value, or set `data.task: classification` where every number is a class.",
    )

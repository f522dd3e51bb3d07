"""Raw values of JSON or CSV as the float32 array that the graph takes, with exact errors.

A missing value is null, and NaN inside the array, for the model to replace. Numbers that are infinite or beyond float32
are refused. Strings, booleans and dates become numbers by their column's codec (`winnow.bundle.columns`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column, ColumnValueError
from winnow.serving import problems
from winnow.serving.problems import Finding
from winnow.serving.signature import Place, Signature

Matrix = NDArray[np.float32]
"""float32 of shape [rows, *input_shape]; NaN where a value is missing."""
Numbers = NDArray[np.float64]
Faults = Mapping[int, str]
"""What is wrong, by the index of the value."""
Kind = Literal["any", "real", "integer", "boolean", "text"]
"""The JSON values that a tensor of the Open Inference Protocol takes; `any` leaves that to the column."""

MOST_GAPS = 5
ROWS_AT_ONCE = 1_024
"""Rows that are held as Python values at a time."""
BEYOND = 2.0**128 - 2.0**103
"""The smallest number that float32 rounds to infinity."""
_OVERFLOW = "expected a number within float32, found one beyond"
_PLAIN = frozenset({float, int, type(None)})


def table(rows: Iterable[Sequence[object]], columns: Sequence[Column], where: Callable[[int], str]) -> Matrix:
    """Rows of one raw value per column as float32 [rows, width]; `where` names a row in errors.

    Raises ProblemError where some values do not fit their columns.
    """
    names = [column.name for column in columns]
    rest, parts, start = iter(rows), [], 0
    while chunk := list(itertools.islice(rest, ROWS_AT_ONCE)):
        read = [encode(column, values) for column, values in zip(columns, zip(*chunk, strict=True), strict=True)]
        faults = [(row, place, fault) for place, (_, found) in enumerate(read) for row, fault in found.items()]
        if faults:
            raise problems.invalid(
                [
                    Finding(f"{where(start + row)}: {shown(names[place])}: {fault}", start + row, names[place])
                    for row, place, fault in sorted(faults)[: problems.MOST_FINDINGS]
                ]
            )
        parts.append(np.concatenate([numbers for numbers, _ in read], axis=1).astype(np.float32))
        start += len(chunk)
    return np.concatenate(parts)


def tensors(
    rows: Iterable[Sequence[object]], signature: Signature, where: Callable[[int], str], kind: Kind = "real"
) -> Matrix:
    """Rows of numbers in row-major order as float32 [rows, *input_shape].

    Raises ProblemError where some values are no numbers.
    """
    parts = []
    findings: list[Finding] = []
    for row, numbers_of_row in enumerate(rows):
        numbers, faults = _numbers(numbers_of_row, kind)
        for index, fault in faults.items():
            place = signature.place_at(tuple(map(int, np.unravel_index(index, signature.input_shape))))
            findings.append(Finding(f"{where(row)}: {shown(place)}: {fault}", row, place))
        if len(findings) >= problems.MOST_FINDINGS:
            break
        parts.append(numbers.astype(np.float32))
    if findings:
        raise problems.invalid(findings[: problems.MOST_FINDINGS])
    return np.concatenate(parts).reshape(-1, *signature.input_shape)


def encode(column: Column, values: Sequence[object], kind: Kind = "any") -> tuple[Numbers, Faults]:
    """One column's raw values as numbers [rows, width], and what is wrong with some of them: at most 20.

    Where there are faults, the numbers are not to be used.
    """
    faults: Faults
    if column.kind == "number":
        numbers, faults = _numbers(values, "real" if kind == "any" else kind)
        return numbers.reshape(-1, 1), faults
    faults = {} if kind == "any" else _faults(values, lambda value: _fault_of_type(value, kind))
    return (np.empty(0), faults) if faults else _encoded(column, values)


def finite(values: Numbers, signature: Signature, where: str) -> Matrix:
    """Numbers decoded the fast way as float32 of shape [rows, *input_shape]; infinite ones are refused by place."""
    with np.errstate(over="ignore"):
        matrix = values.astype(np.float32).reshape(-1, *signature.input_shape)
    if not np.isinf(matrix).any():
        return matrix
    findings = []
    for row, *index in np.argwhere(np.isinf(matrix))[: problems.MOST_FINDINGS].tolist():
        place = signature.place_at(tuple(index))
        findings.append(Finding(f"{where}[{row}]: {shown(place)}: {_OVERFLOW}", row, place))
    raise problems.invalid(findings)


def unanswered(matrix: Matrix, rows: NDArray[np.int64], signature: Signature) -> list[Finding]:
    """A finding for each of the first rows without an answer: its missing columns, or that its values are too large."""
    findings = []
    for row in rows[: problems.MOST_FINDINGS].tolist():
        missing = np.argwhere(np.isnan(matrix[row])).tolist()
        gaps = list(dict.fromkeys(signature.place_at(tuple(index)) for index in missing))
        if not gaps:
            findings.append(Finding(f"row {row}: the model has no finite answer to values of this size", row))
            continue
        names = ", ".join(shown(place) for place in gaps[:MOST_GAPS])
        more = f" and {len(gaps) - MOST_GAPS} more" if len(gaps) > MOST_GAPS else ""
        findings.append(Finding(f"row {row}: the model cannot do without {names}{more}", row, gaps[0]))
    return findings


def shown(place: Place) -> str:
    """A place as errors name it."""
    return f'column "{place}"' if isinstance(place, str) else f"position {list(place)}"


def _numbers(values: Sequence[object], kind: Kind) -> tuple[Numbers, Faults]:
    """Numbers and nulls as float64, and the faults of others."""
    if kind == "real" and _PLAIN.issuperset(map(type, values)):
        try:
            found: Numbers = np.array(values, dtype=np.float64)
        except OverflowError:  # a whole number beyond float64
            found = np.array([np.inf])
        if not (np.abs(found) >= BEYOND).any():
            return found, {}
    faults = _faults(values, lambda value: _fault_of_number(value, kind))
    return np.array([] if faults else values, dtype=np.float64), faults


def _fault_of_number(value: object, kind: Kind) -> str | None:
    if value is None or (isinstance(value, bool) and kind == "boolean"):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"expected a number or null, found {problems.kind_of(value)}"
    if kind == "integer" and isinstance(value, float) and not value.is_integer():
        return "expected a whole number"
    return _OVERFLOW if abs(value) >= BEYOND else None


_TYPES: Mapping[Kind, tuple[tuple[type, ...], str]] = {
    "real": ((int, float), "a number"),
    "integer": ((int, float), "a whole number"),
    "boolean": ((bool,), "true or false"),
    "text": ((str,), "a string"),
}


def _fault_of_type(value: object, kind: Kind) -> str | None:
    """Why a tensor of this kind does not take a value."""
    types, expected = _TYPES[kind]
    fits = isinstance(value, types) and (kind == "boolean" or not isinstance(value, bool))
    if kind == "integer" and isinstance(value, float):
        fits = value.is_integer()
    return None if fits or value is None else f"expected {expected} or null, found {problems.kind_of(value)}"


def _faults(values: Sequence[object], fault: Callable[[object], str | None]) -> Faults:
    """The first faults by index."""
    found = ((index, detail) for index, value in enumerate(values) if (detail := fault(value)) is not None)
    return dict(itertools.islice(found, problems.MOST_FINDINGS))


def _encoded(column: Column, values: Sequence[object]) -> tuple[Numbers, Faults]:
    try:
        return column.encode(values), {}
    except ColumnValueError as error:
        first = error.row

    def fault(value: object) -> str | None:
        try:
            column.encode([value])
        except ColumnValueError as error:
            found = "another text" if isinstance(value, str) else problems.kind_of(value)
            return f"expected {error.expected} or null, found {found}"
        return None

    return np.empty(0), {first + index: detail for index, detail in _faults(values[first:], fault).items()}

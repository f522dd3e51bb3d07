"""Rows of JSON or CSV values as one float32 array, with exact errors.

The codecs decode valid bodies straight into typed values. A body that their decoders refuse comes here as plain Python
values and is read value by value: it is either valid after all (JSON with a bare `NaN`, columns that the model does not
have) or ends as a problem that names rows and columns. This module defines what is valid; the typed decoders are only
faster.

A missing value is `null` in JSON and an empty field in CSV; inside the array it is NaN, for the model to impute.
Infinite numbers, and those beyond float32, are refused.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from winnow.serving import problems
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Signature

Matrix = NDArray[np.float32]
"""float32 of shape [rows, *input_shape]; NaN where a value is missing."""

NumberKind = Literal["real", "integer", "boolean"]
MOST_GAPS = 5
MOST_GUESSED, MOST_GUESSES = 20, 50
"""Unknown names that are compared with missing ones, and how many of these: comparing takes up to 0.1 ms a pair."""
DEEPEST_TENSOR = 16
SPARE_CONTAINERS = 10_000
BEYOND = 2.0**128 - 2.0**103
"""The smallest number that float32 rounds to infinity."""
MISSING_TEXT = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"),
        *("NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""What pandas reads as missing, and so MLflow in CSV."""


class _Findings:
    """Gathers faults of values and stops the reading when there are enough to show."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, detail: str, row: int | None, column: str | tuple[int, ...] | None) -> None:
        self.found.append(Finding(detail, row, column))
        if len(self.found) >= problems.MOST_FINDINGS:
            raise problems.invalid(self.found)

    def stop_if_any(self) -> None:
        if self.found:
            raise problems.invalid(self.found)


def json_of(body: bytes, signature: Signature) -> Any:
    """The body as plain JSON values; bare `NaN` and `Infinity`, which Python's `json` writes, are read too.

    Raises:
        ProblemError: it is not JSON in UTF-8, or holds more arrays and objects than the most rows can need.
    """
    _check_containers(body, signature)
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise ProblemError("malformed-body", "The JSON is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    try:
        content = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ProblemError("malformed-body", f"Expected JSON; {reason}.") from None
    if b"\\u" in body:
        _check_unicode(content)
    return content


def from_rows(
    rows: object, signature: Signature, where: str, *, ignore_extra: bool = False, may_be_ragged: bool = False
) -> Matrix:
    """An array from a list of rows: objects by column name, or arrays in the order of the columns, or tensors.

    Args:
        where: what the caller calls the list, for errors ("rows").
        ignore_extra: leave out columns that the model does not know instead of refusing them.
        may_be_ragged: a column that some object lacks and another has is a missing value instead of a fault.

    Raises:
        ProblemError: the rows do not fit.
    """
    items = _row_list(rows, signature, where)
    if signature.columns is None:
        return _tensors(items, signature, where)
    if may_be_ragged and all(isinstance(item, dict) for item in items):
        return _ragged(items, signature.columns, where)
    findings = _Findings()
    values = array("d")
    for row, item in enumerate(items):
        values.extend(_row_values(item, row, signature.columns, where, ignore_extra, findings))
    findings.stop_if_any()
    return _matrix(values, signature.input_shape)


def from_table(names: Sequence[str] | None, rows: object, signature: Signature, where: str) -> Matrix:
    """An array from rows of cells under column names in any order; further columns are ignored.

    Without names the cells stand in the order of the model's columns.
    """
    if names is None or signature.columns is None:
        return from_rows(rows, signature, where)
    check_names(names, signature.columns, where, None, ignore_extra=True)
    place_of = {name: place for place, name in enumerate(names)}
    places = [place_of[column] for column in signature.columns]
    items = _row_list(rows, signature, where)
    for row, item in enumerate(items):
        if not isinstance(item, list) or len(item) != len(names):
            found = problems.kind_of(item)
            _refuse(f"{where}[{row}]: expected an array of {len(names)}, one value per name, found {found}", row)
    return from_rows([[item[place] for place in places] for item in items], signature, where)


def from_columns(columns: Mapping[str, object], signature: Signature, where: str, *, ignore_extra: bool) -> Matrix:
    """An array from one list of values per column; single values instead of lists make a single row."""
    if signature.columns is None:
        found = "an object of columns"
        _refuse(f"{where}: expected nested arrays of shape {_batch_shape(signature)}, found {found}", None)
    check_names(list(columns), signature.columns, where, None, ignore_extra)
    lists: dict[str, list[object]] = {}
    for name in signature.columns:
        value = columns[name]
        lists[name] = value if isinstance(value, list) else [value]
    rows = len(lists[signature.columns[0]])
    for name, column in lists.items():
        if len(column) != rows:
            first = signature.columns[0]
            detail = f'{where}: column "{name}" has {len(column)} values, "{first}" has {rows}; expected as many'
            raise problems.invalid([Finding(detail, None, name)])
    if rows == 0:
        _refuse(f"{where}: expected at least one row, found none", None)
    check_count(rows, signature)
    findings = _Findings()
    values = array("d")
    for row in range(rows):
        place = f"{where}[{row}]"
        values.extend(_number(lists[name][row], row, name, place, findings) for name in signature.columns)
    findings.stop_if_any()
    return _matrix(values, signature.input_shape)


def from_csv(body: bytes, signature: Signature) -> Matrix:
    """An array from CSV with a header, as `pandas.DataFrame.to_csv` writes it; further columns are ignored."""
    if signature.columns is None:
        raise ProblemError(
            "unsupported-media-type", f"This model takes tensors of shape {_batch_shape(signature)}: send JSON."
        )
    try:
        return _csv_matrix(io.StringIO(body.decode("utf-8-sig"), newline=""), signature, signature.columns)
    except UnicodeDecodeError:
        raise ProblemError("malformed-body", "Expected CSV in UTF-8.") from None
    except csv.Error as error:
        raise ProblemError("malformed-body", f"Expected CSV; {error}.") from None


def _csv_matrix(text: io.StringIO, signature: Signature, columns: Sequence[str]) -> Matrix:
    """The array of a CSV text, read line by line so that only the model's own columns are kept."""
    lines = (line for line in csv.reader(text, strict=True) if line)
    header, first = next(lines, None), next(lines, None)
    if header is None or first is None:
        _refuse("csv: expected a line of column names and at least one row", None)
    check_names(header, columns, "csv", None, ignore_extra=True)
    place_of = {name: place for place, name in enumerate(header)}
    places = [(name, place_of[name]) for name in columns]
    findings = _Findings()
    values = array("d")
    for row, cells in enumerate(itertools.chain([first], lines)):
        check_count(row + 1, signature)
        if len(cells) != len(header):
            _refuse(f"csv[{row}]: expected {len(header)} fields, found {len(cells)}", row)
        values.extend(_number_in(cells[place], row, name, findings) for name, place in places)
    findings.stop_if_any()
    return _matrix(values, signature.input_shape)


def from_flat(
    values: object,
    shape: tuple[int, ...],
    signature: Signature,
    where: str,
    column: str | None = None,
    kind: NumberKind = "real",
) -> Matrix:
    """An array of `shape` (rows first) from a tensor's values in row-major order, flat or nested.

    With `column` the tensor is that one column of the rows. Only a `boolean` tensor takes true and false, and an
    `integer` one takes no fractions.
    """
    flat: list[object] = []
    _flatten(values, flat, DEEPEST_TENSOR)
    if len(flat) != math.prod(shape):
        expected = f"{math.prod(shape)} values for shape {list(shape)}"
        _refuse(f"{where}: expected {expected}, found {len(flat)}", None, column)
    names = [column] if column is not None else [_column_at(place, signature) for place in np.ndindex(*shape[1:])]
    findings = _Findings()
    numbers = array("d")
    for position, value in enumerate(flat):
        row, inside = divmod(position, len(names))
        name = names[inside]
        if kind == "boolean" and isinstance(value, bool):
            value = int(value)
        elif kind == "integer" and isinstance(value, float) and not value.is_integer():
            findings.add(f"{where}: row {row}: {_shown(name)}: expected a whole number", row, name)
            continue
        numbers.append(_number(value, row, name, f"{where}: row {row}", findings))
    findings.stop_if_any()
    return _matrix(numbers, shape[1:])


def check_count(rows: int, signature: Signature) -> None:
    """Refuse more rows than one request may have, before anything is made for each of them."""
    if rows > signature.most_rows:
        raise problems.too_many_rows(signature.most_rows, rows)


def check_names(names: Sequence[str], columns: Sequence[str], place: str, row: int | None, ignore_extra: bool) -> None:
    """Refuse names that are unknown (unless they may be ignored), missing, or there twice.

    An unknown name close to a missing one comes first: it is probably what was meant. Only the first unknown names are
    looked at, since an answer shows no more than `problems.MOST_FINDINGS`.
    """
    known, given = set(columns), set(names)
    missing = [name for name in columns if name not in given]
    counted = Counter(names) if len(given) < len(names) else Counter[str]()
    repeated = [name for name in columns if counted[name] > 1]
    misspelt: list[Finding] = []
    strange: list[Finding] = []
    unknown = (name for name in names if name not in known) if missing or not ignore_extra else iter(())
    for name in itertools.islice(unknown, MOST_GUESSED):
        guess = problems.nearest(name, missing[:MOST_GUESSES])
        detail = f"{place}: unknown column {problems.shorten(name)}{guess}"
        (misspelt if guess else strange).append(Finding(detail, row, problems.printable(name)))
    found = [
        *misspelt,
        *(Finding(f'{place}: column "{name}" is missing', row, name) for name in missing),
        *(Finding(f'{place}: column "{name}" stands there more than once', row, name) for name in repeated),
        *([] if ignore_extra else strange),
    ]
    if found:
        raise problems.invalid(found)


def finite(values: NDArray[np.float64] | Matrix, signature: Signature, where: str) -> Matrix:
    """Values decoded the fast way as float32 of shape [rows, *input_shape]; infinite ones are refused by place."""
    with np.errstate(over="ignore"):
        matrix = values.astype(np.float32, copy=False).reshape(-1, *signature.input_shape)
    if not np.isinf(matrix).any():
        return matrix
    findings = _Findings()
    for row, *place in np.argwhere(np.isinf(matrix))[: problems.MOST_FINDINGS].tolist():
        column = _column_at(tuple(place), signature)
        detail = f"{where}[{row}]: {_shown(column)}: expected a number within float32, found one beyond"
        findings.add(detail, row, column)
    raise problems.invalid(findings.found)


def unanswered(matrix: Matrix, rows: NDArray[np.int64], signature: Signature) -> list[Finding]:
    """A finding for each of the first rows without an answer: its missing columns, or that its values are too large."""
    findings = []
    for row in rows[: problems.MOST_FINDINGS].tolist():
        gaps = np.argwhere(np.isnan(matrix[row]))
        if not len(gaps):
            findings.append(Finding(f"row {row}: the model has no finite answer to values of this size", row))
            continue
        places = [_column_at(tuple(gap), signature) for gap in gaps.tolist()]
        names = ", ".join(_shown(place) for place in places[:MOST_GAPS])
        more = f" and {len(places) - MOST_GAPS} more" if len(places) > MOST_GAPS else ""
        findings.append(Finding(f"row {row}: the model cannot do without {names}{more}", row, places[0]))
    return findings


def _row_values(
    item: object, row: int, columns: Sequence[str], where: str, ignore_extra: bool, findings: _Findings
) -> list[float]:
    place = f"{where}[{row}]"
    if isinstance(item, dict):
        check_names(list(item), columns, place, row, ignore_extra)
        return [_number(item[name], row, name, place, findings) for name in columns]
    if isinstance(item, list):
        if len(item) != len(columns):
            _refuse(f"{place}: expected {len(columns)} values, one per column, found {len(item)}", row)
        return [_number(value, row, name, place, findings) for value, name in zip(item, columns, strict=True)]
    expected = f"an object by column name or an array of {len(columns)} numbers"
    _refuse(f"{place}: expected {expected}, found {problems.kind_of(item)}", row)


def _ragged(items: list[dict[str, object]], columns: Sequence[str], where: str) -> Matrix:
    """An array from objects by column name; a column that only some of them have is missing in the others."""
    known = frozenset(columns)
    present: set[str] = set()
    for item in items:
        present |= known.intersection(item)
    if len(present) < len(columns):
        names = dict.fromkeys(itertools.chain(present, itertools.chain.from_iterable(items)))
        check_names(list(names), columns, where, None, ignore_extra=True)
    findings = _Findings()
    values = array("d")
    for row, item in enumerate(items):
        place = f"{where}[{row}]"
        values.extend(_number(item.get(name), row, name, place, findings) for name in columns)
    findings.stop_if_any()
    return _matrix(values, (len(columns),))


def _tensors(items: list[object], signature: Signature, where: str) -> Matrix:
    findings = _Findings()
    values = array("d")
    for row, item in enumerate(items):
        _tensor_values(item, signature.input_shape, (), row, f"{where}[{row}]", values, findings)
    findings.stop_if_any()
    return _matrix(values, signature.input_shape)


def _tensor_values(
    value: object,
    shape: tuple[int, ...],
    place: tuple[int, ...],
    row: int,
    where: str,
    values: array[float],
    findings: _Findings,
) -> None:
    if not shape:
        values.append(_number(value, row, place, where, findings))
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        inside = f", at {list(place)} inside the row" if place else ""
        expected = f"nested arrays of shape {list(shape)}"
        _refuse(f"{where}{inside}: expected {expected}, found {problems.kind_of(value)}", row, place or None)
    for index, inner in enumerate(value):
        _tensor_values(inner, shape[1:], (*place, index), row, where, values, findings)


def _number(value: object, row: int, column: str | tuple[int, ...], place: str, findings: _Findings) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        found = problems.kind_of(value)
        findings.add(f"{place}: {_shown(column)}: expected a number or null, found {found}", row, column)
    elif abs(value) >= BEYOND:
        findings.add(f"{place}: {_shown(column)}: expected a number within float32, found one beyond", row, column)
    else:
        return float(value)
    return math.nan


def _number_in(text: str, row: int, column: str, findings: _Findings) -> float:
    """A CSV field as a number; Python's `1_000` is none, and neither are digits of other scripts."""
    text = text.strip()
    if text in MISSING_TEXT:
        return math.nan
    try:
        number = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        number = None
    return _number("" if number is None else number, row, column, f"csv[{row}]", findings)


def _flatten(value: object, flat: list[object], deepest: int) -> None:
    if not isinstance(value, list):
        flat.append(value)
    elif deepest == 0:
        raise ProblemError("malformed-body", "The JSON is nested too deeply.")
    else:
        for inner in value:
            _flatten(inner, flat, deepest - 1)


def _row_list(rows: object, signature: Signature, where: str) -> list[Any]:
    if not isinstance(rows, list):
        _refuse(f"{where}: expected an array of rows, found {problems.kind_of(rows)}", None)
    if not rows:
        _refuse(f"{where}: expected at least one row, found none", None)
    check_count(len(rows), signature)
    return rows


def _matrix(values: array[float], row_shape: tuple[int, ...]) -> Matrix:
    """The numbers of whole rows as float32 of shape [rows, *row_shape]."""
    return np.frombuffer(values, dtype=np.float64).astype(np.float32).reshape(-1, *row_shape)


def _check_containers(body: bytes, signature: Signature) -> None:
    """Refuse a body with more arrays and objects than the most rows need: each takes twenty times its two bytes."""
    columns = signature.columns or ()
    in_names = sum(name.count("[") + name.count("{") for name in columns)
    each_row = 4 + in_names + math.prod(signature.input_shape[:-1])
    most = SPARE_CONTAINERS + signature.most_rows * each_row
    if body.count(b"[") + body.count(b"{") > most:
        detail = f"Expected at most {most} arrays and objects in a body, found more: send the rows in several requests."
        raise ProblemError("too-large", detail)


def _check_unicode(content: object) -> None:
    """Refuse names and texts with half of a surrogate pair, which UTF-8 cannot write (RFC 8259, 8.2)."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        _refuse("Expected names and texts in Unicode, found half of a surrogate pair", None)
    except RecursionError:
        raise ProblemError("malformed-body", "The JSON is nested too deeply.") from None


def _refuse(detail: str, row: int | None, column: str | tuple[int, ...] | None = None) -> NoReturn:
    raise problems.invalid([Finding(detail, row, column)])


def _shown(column: str | tuple[int, ...]) -> str:
    return f'column "{column}"' if isinstance(column, str) else f"position {list(column)}"


def _column_at(place: tuple[int, ...], signature: Signature) -> str | tuple[int, ...]:
    return signature.columns[place[0]] if signature.columns is not None else place


def _batch_shape(signature: Signature) -> str:
    return "[rows, " + ", ".join(str(size) for size in signature.input_shape) + "]"

"""Rows of JSON or CSV values as one float32 array, with exact errors.

The codecs decode most valid bodies straight into typed values. A body that their decoders refuse is read here, value by
value: it is either valid after all (with columns that the model does not have, for instance) or ends as a problem that
names rows and columns. This module defines what is valid; the typed decoders are only faster.

A missing value is `null` in JSON and an empty field in CSV; inside the array it is NaN, for the model to impute.
Infinite numbers, and those beyond float32, are refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import MISSING
from winnow.serving import problems
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Signature

Matrix = NDArray[np.float32]
"""float32 of shape [rows, *input_shape]; NaN where a value is missing."""

NumberKind = Literal["real", "integer", "boolean"]
"""Only a `boolean` tensor takes true and false, and an `integer` one takes no fractions."""
Place = str | tuple[int, ...]
"""A column's name, or an index inside the row's tensor."""
MOST_GAPS = 5
MOST_GUESSED, MOST_GUESSES = 20, 50
"""Unknown names that are compared with missing ones, and how many of these: comparing takes up to 0.1 ms a pair."""
DEEPEST_TENSOR = 16
SPARE_CONTAINERS = 10_000
BEYOND = 2.0**128 - 2.0**103
"""The smallest number that float32 rounds to infinity."""
_STRING = re.compile(rb'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))', re.DOTALL)


class _Findings:
    """Gathers faults of values, and refuses the rows as soon as there are enough to show."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, detail: str, row: int, place: Place) -> None:
        self.found.append(Finding(detail, row, place))
        if len(self.found) >= problems.MOST_FINDINGS:
            raise problems.invalid(self.found)


def standard_json(body: bytes) -> bytes:
    """The body without a byte order mark; bare `NaN` and `Infinity` become null and numbers beyond float32.

    Python's `json` writes them, but its decoder would hold the interpreter's lock, and health checks, for too long.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if b"NaN" not in body and b"Infinity" not in body:
        return body
    if b"\\" in body:
        mark, parts = b"", _STRING.split(body)
    else:
        mark, parts = b'"', body.split(b'"')
    outside = b'"'.join(parts[::2]).replace(b"NaN", b"null")
    outside = outside.replace(b"-Infinity", b" -1e300 ").replace(b"Infinity", b" 1e300 ")
    parts[::2] = outside.split(b'"')
    return mark.join(parts)


def json_of(body: bytes, signature: Signature) -> Any:
    """The body, in the form of `standard_json`, as plain JSON values.

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
        content = json.loads(body.decode())
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
    columns = signature.columns
    cells: Iterable[Sequence[object]]
    if columns is None:
        cells = (_tensor_values(item, signature.input_shape, (), row, where) for row, item in enumerate(items))
    elif may_be_ragged and all(isinstance(item, dict) for item in items):
        check_names(list(dict.fromkeys(itertools.chain.from_iterable(items))), columns, where, None, ignore_extra=True)
        cells = ([item.get(name) for name in columns] for item in items)
    else:
        cells = (_cells(item, row, columns, f"{where}[{row}]", ignore_extra) for row, item in enumerate(items))
    return _matrix(cells, _places(signature), lambda row: f"{where}[{row}]", signature.input_shape)


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


def from_columns(columns: Mapping[str, object], signature: Signature, where: str) -> Matrix:
    """An array from one list of values per column; single values make a single row; further columns are ignored."""
    if signature.columns is None:
        found = "an object of columns"
        _refuse(f"{where}: expected nested arrays of shape {_batch_shape(signature)}, found {found}")
    check_names(list(columns), signature.columns, where, None, ignore_extra=True)
    values = [columns[name] for name in signature.columns]
    lists = [value if isinstance(value, list) else [value] for value in values]
    rows, first = len(lists[0]), signature.columns[0]
    for name, column in zip(signature.columns, lists, strict=True):
        if len(column) != rows:
            detail = f'{where}: column "{name}" has {len(column)} values, "{first}" has {rows}; expected as many'
            _refuse(detail, None, name)
    if rows == 0:
        _refuse(f"{where}: expected at least one row, found none")
    check_count(rows, signature)
    cells = zip(*lists, strict=True)
    return _matrix(cells, signature.columns, lambda row: f"{where}[{row}]", signature.input_shape)


def from_csv(body: bytes, signature: Signature) -> Matrix:
    """An array from CSV with a header, as `pandas.DataFrame.to_csv` writes it; further columns are ignored."""
    if signature.columns is None:
        raise ProblemError(
            "unsupported-media-type", f"This model takes tensors of shape {_batch_shape(signature)}: send JSON."
        )
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        cells = _csv_cells(text, signature, signature.columns)
        return _matrix(cells, signature.columns, lambda row: f"csv[{row}]", signature.input_shape)
    except UnicodeDecodeError:
        raise ProblemError("malformed-body", "Expected CSV in UTF-8.") from None
    except csv.Error as error:
        raise ProblemError("malformed-body", f"Expected CSV; {error}.") from None


def _csv_cells(text: io.StringIO, signature: Signature, columns: Sequence[str]) -> Iterator[list[object]]:
    """The values of the model's own columns, row by row."""
    lines = (line for line in csv.reader(text, strict=True) if line)
    header, first = next(lines, None), next(lines, None)
    if header is None or first is None:
        _refuse("csv: expected a line of column names and at least one row")
    check_names(header, columns, "csv", None, ignore_extra=True)
    place_of = {name: place for place, name in enumerate(header)}
    places = [place_of[name] for name in columns]
    for row, cells in enumerate(itertools.chain([first], lines)):
        check_count(row + 1, signature)
        if len(cells) != len(header):
            _refuse(f"csv[{row}]: expected {len(header)} fields, found {len(cells)}", row)
        yield [_csv_value(cells[place]) for place in places]


def _csv_value(text: str) -> float | str | None:
    """A field's number, None if it is missing, or the text if it is no number (`1_000`, digits of other scripts)."""
    text = text.strip()
    if text in MISSING:
        return None
    try:
        return float(text) if text.isascii() and "_" not in text else text
    except ValueError:
        return text


def from_flat(
    values: object,
    shape: tuple[int, ...],
    signature: Signature,
    where: str,
    column: str | None = None,
    kind: NumberKind = "real",
) -> Matrix:
    """An array of `shape` (rows first) from a tensor's values in row-major order, flat or nested.

    With `column` the tensor is that one column of the rows.
    """
    flat: list[object] = []
    _flatten(values, flat, DEEPEST_TENSOR)
    if len(flat) != math.prod(shape):
        expected = f"{math.prod(shape)} values for shape {list(shape)}"
        _refuse(f"{where}: expected {expected}, found {len(flat)}", None, column)
    places = (column,) if column is not None else _places(signature)
    cells = (flat[start : start + len(places)] for start in range(0, len(flat), len(places)))
    return _matrix(cells, places, lambda row: f"{where}: row {row}", shape[1:], kind)


def check_count(rows: int, signature: Signature) -> None:
    """Refuse more rows than one request may have, before anything is made for each of them."""
    if rows > signature.most_rows:
        detail = f"Expected at most {signature.most_rows} rows, found {rows}: send them in several requests."
        raise ProblemError("too-large", detail)


def check_names(names: Sequence[str], columns: Sequence[str], where: str, row: int | None, ignore_extra: bool) -> None:
    """Refuse names that are unknown (unless they may be ignored), missing, or repeated.

    An unknown name close to a missing one comes first: it is probably what was meant. Only the first unknown names are
    compared, since an answer shows no more than `problems.MOST_FINDINGS`.
    """
    known, given = set(columns), set(names)
    missing = [name for name in columns if name not in given]
    counted = Counter(names) if len(given) < len(names) else Counter[str]()
    misspelt: list[Finding] = []
    strange: list[Finding] = []
    unknown = (name for name in names if name not in known) if missing or not ignore_extra else iter(())
    for name in itertools.islice(unknown, MOST_GUESSED):
        guess = problems.nearest(name, missing[:MOST_GUESSES])
        detail = f"{where}: unknown column {problems.shorten(name)}{guess}"
        (misspelt if guess else strange).append(Finding(detail, row, problems.printable(name)))
    found = [
        *misspelt,
        *(Finding(f'{where}: column "{name}" is missing', row, name) for name in missing),
        *(Finding(f'{where}: column "{name}" is repeated', row, name) for name in columns if counted[name] > 1),
        *([] if ignore_extra else strange),
    ]
    if found:
        raise problems.invalid(found)


def finite(values: NDArray[np.float64], signature: Signature, where: str) -> Matrix:
    """Values decoded the fast way as float32 of shape [rows, *input_shape]; infinite ones are refused by place."""
    with np.errstate(over="ignore"):
        matrix = values.astype(np.float32).reshape(-1, *signature.input_shape)
    if not np.isinf(matrix).any():
        return matrix
    findings = []
    for row, *index in np.argwhere(np.isinf(matrix))[: problems.MOST_FINDINGS].tolist():
        place = _place_at(tuple(index), signature)
        findings.append(Finding(f"{where}[{row}]: {_shown(place)}: {_OVERFLOW}", row, place))
    raise problems.invalid(findings)


def unanswered(matrix: Matrix, rows: NDArray[np.int64], signature: Signature) -> list[Finding]:
    """A finding for each of the first rows without an answer: its missing columns, or that its values are too large."""
    findings = []
    for row in rows[: problems.MOST_FINDINGS].tolist():
        gaps = [_place_at(tuple(gap), signature) for gap in np.argwhere(np.isnan(matrix[row])).tolist()]
        if not gaps:
            findings.append(Finding(f"row {row}: the model has no finite answer to values of this size", row))
            continue
        names = ", ".join(_shown(place) for place in gaps[:MOST_GAPS])
        more = f" and {len(gaps) - MOST_GAPS} more" if len(gaps) > MOST_GAPS else ""
        findings.append(Finding(f"row {row}: the model cannot do without {names}{more}", row, gaps[0]))
    return findings


def _matrix(
    rows: Iterable[Sequence[object]],
    places: Sequence[Place],
    where: Callable[[int], str],
    row_shape: tuple[int, ...],
    kind: NumberKind = "real",
) -> Matrix:
    """Rows of one value per place as float32 of shape [rows, *row_shape]; `where` names a row in errors."""
    findings = _Findings()
    numbers = array("d")
    for row, values in enumerate(rows):
        for value, place in zip(values, places, strict=True):
            fault = None
            if value is None:
                value = math.nan
            elif isinstance(value, bool) and kind == "boolean":
                value = float(value)
            elif isinstance(value, bool) or not isinstance(value, int | float):
                fault = f"expected a number or null, found {problems.kind_of(value)}"
            elif kind == "integer" and isinstance(value, float) and not value.is_integer():
                fault = "expected a whole number"
            elif abs(value) >= BEYOND:
                fault = _OVERFLOW
            if fault is None:
                numbers.append(value)  # type: ignore[arg-type]  # a number, or there were a fault
            else:
                findings.add(f"{where(row)}: {_shown(place)}: {fault}", row, place)
    if findings.found:
        raise problems.invalid(findings.found)
    return np.frombuffer(numbers, dtype=np.float64).astype(np.float32).reshape(-1, *row_shape)


_OVERFLOW = "expected a number within float32, found one beyond"


def _cells(item: object, row: int, columns: Sequence[str], where: str, ignore_extra: bool) -> list[object]:
    """One row's values in the order of the columns."""
    if isinstance(item, dict):
        check_names(list(item), columns, where, row, ignore_extra)
        return [item[name] for name in columns]
    if not isinstance(item, list):
        expected = f"an object by column name or an array of {len(columns)} numbers"
        _refuse(f"{where}: expected {expected}, found {problems.kind_of(item)}", row)
    if len(item) != len(columns):
        _refuse(f"{where}: expected {len(columns)} values, one per column, found {len(item)}", row)
    return item


def _tensor_values(
    value: object, shape: tuple[int, ...], index: tuple[int, ...], row: int, where: str
) -> Sequence[object]:
    """One row's values in row-major order."""
    if not shape:
        return (value,)
    if not isinstance(value, list) or len(value) != shape[0]:
        inside = f", at {list(index)} inside the row" if index else ""
        expected = f"nested arrays of shape {list(shape)}"
        _refuse(f"{where}[{row}]{inside}: expected {expected}, found {problems.kind_of(value)}", row, index or None)
    if len(shape) == 1:
        return value
    inner = (_tensor_values(each, shape[1:], (*index, at), row, where) for at, each in enumerate(value))
    return list(itertools.chain.from_iterable(inner))


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
        _refuse(f"{where}: expected an array of rows, found {problems.kind_of(rows)}")
    if not rows:
        _refuse(f"{where}: expected at least one row, found none")
    check_count(len(rows), signature)
    return rows


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
        _refuse("Expected names and texts in Unicode, found half of a surrogate pair")
    except RecursionError:
        raise ProblemError("malformed-body", "The JSON is nested too deeply.") from None


def _refuse(detail: str, row: int | None = None, place: Place | None = None) -> NoReturn:
    raise problems.invalid([Finding(detail, row, place)])


def _shown(place: Place) -> str:
    return f'column "{place}"' if isinstance(place, str) else f"position {list(place)}"


def _place_at(index: tuple[int, ...], signature: Signature) -> Place:
    return signature.columns[index[0]] if signature.columns is not None else index


def _places(signature: Signature) -> Sequence[Place]:
    """The place of each value of a row."""
    return signature.columns if signature.columns is not None else list(np.ndindex(signature.input_shape))


def _batch_shape(signature: Signature) -> str:
    return "[rows, " + ", ".join(str(size) for size in signature.input_shape) + "]"

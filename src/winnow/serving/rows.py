"""Rows in the forms of JSON in which they are sent, as one float32 array.

The codecs decode most valid bodies straight into typed values. A body that their decoders refuse is read here: it is
either valid after all (with columns that the model does not have, for instance) or ends as a problem that names rows
and columns. This module says which value stands where; `values` reads the values themselves.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from winnow.bundle.columns import Column
from winnow.serving import image_rows, problems, values
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Place, Signature
from winnow.serving.values import Kind, Matrix, Numbers

MOST_GUESSED, MOST_GUESSES = 20, 50
"""Unknown names that are compared with missing ones, and how many of these: comparing takes up to 0.1 ms a pair."""
DEEPEST_TENSOR = 16


def from_rows(
    rows: object, signature: Signature, where: str, *, ignore_extra: bool = False, may_be_ragged: bool = False
) -> Matrix:
    """An array from a list of rows: objects by column name, or arrays in the order of the columns, tensors or images.

    Args:
        where: what the caller calls the list, for errors ("rows").
        ignore_extra: leave out columns that the model does not know instead of refusing them.
        may_be_ragged: a column that some object lacks and another has is a missing value instead of a fault.

    Raises ProblemError where the rows do not fit.
    """
    items = _row_list(rows, signature, where)
    names = signature.names

    def place(row: int) -> str:
        return f"{where}[{row}]"

    if signature.images is not None and isinstance(items[0], dict):
        return image_rows.from_objects(items, signature.images, where)
    cells: Iterable[Sequence[object]]
    if signature.columns is None or names is None:
        cells = (_tensor_values(item, signature.input_shape, (), row, where) for row, item in enumerate(items))
        return values.tensors(cells, signature, place)
    if may_be_ragged and all(isinstance(item, dict) for item in items):
        check_names(list(dict.fromkeys(itertools.chain.from_iterable(items))), names, where, None, ignore_extra=True)
        cells = ([item.get(name) for name in names] for item in items)
    else:
        cells = (_cells(item, row, names, place(row), ignore_extra) for row, item in enumerate(items))
    return values.table(cells, signature.columns, place)


def from_table(names: Sequence[str] | None, rows: object, signature: Signature, where: str) -> Matrix:
    """An array from rows of cells under column names in any order; further columns are ignored.

    Without names the cells stand in the order of the model's columns.
    """
    if names is None or signature.names is None:
        return from_rows(rows, signature, where)
    check_names(names, signature.names, where, None, ignore_extra=True)
    place_of = {name: place for place, name in enumerate(names)}
    places = [place_of[column] for column in signature.names]
    items = _row_list(rows, signature, where)
    for row, item in enumerate(items):
        if not isinstance(item, list) or len(item) != len(names):
            found = problems.kind_of(item)
            _refuse(f"{where}[{row}]: expected an array of {len(names)}, one value per name, found {found}", row)
    return from_rows([[item[place] for place in places] for item in items], signature, where)


def from_columns(columns: Mapping[str, object], signature: Signature, where: str) -> Matrix:
    """An array from one list of values per column; single values make a single row; further columns are ignored."""
    if signature.columns is None or signature.names is None:
        found = "an object of columns"
        _refuse(f"{where}: expected nested arrays of shape {batch_shape(signature)}, found {found}")
    check_names(list(columns), signature.names, where, None, ignore_extra=True)
    given = [columns[name] for name in signature.names]
    lists = [each if isinstance(each, list) else [each] for each in given]
    rows, first = len(lists[0]), signature.names[0]
    for name, column in zip(signature.names, lists, strict=True):
        if len(column) != rows:
            detail = f'{where}: column "{name}" has {len(column)} values, "{first}" has {rows}; expected as many'
            _refuse(detail, None, name)
    if rows == 0:
        _refuse(f"{where}: expected at least one row, found none")
    check_count(rows, signature)
    return values.table(zip(*lists, strict=True), signature.columns, lambda row: f"{where}[{row}]")


def from_tensor(content: object, rows: int, signature: Signature, where: str, kind: Kind) -> Matrix:
    """An array from the numbers of `rows` rows in row-major order, flat or nested."""
    size = math.prod(signature.input_shape)
    flat = _flat(content, rows * size, (rows, *signature.input_shape), where, None)
    cells = (flat[start : start + size] for start in range(0, len(flat), size))
    return values.tensors(cells, signature, lambda row: f"{where}: row {row}", kind)


def from_column(content: object, rows: int, column: Column, where: str, kind: Kind) -> Numbers:
    """Numbers [rows, width] from a tensor that is one column, flat or nested."""
    flat = _flat(content, rows, (rows,), where, column.name)
    numbers, faults = values.encode(column, flat, kind)
    if faults:
        at = values.shown(column.name)
        findings = [Finding(f"{where}: row {row}: {at}: {fault}", row, column.name) for row, fault in faults.items()]
        raise problems.invalid(findings)
    return numbers


def _flat(content: object, count: int, shape: Sequence[int], where: str, column: str | None) -> list[object]:
    flat: list[object] = []
    _flatten(content, flat, DEEPEST_TENSOR)
    if len(flat) != count:
        expected = f"{count} values for shape {list(shape)}"
        _refuse(f"{where}: expected {expected}, found {len(flat)}", None, column)
    return flat


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


def _cells(item: object, row: int, columns: Sequence[str], where: str, ignore_extra: bool) -> list[object]:
    """One row's values in the order of the columns."""
    if isinstance(item, dict):
        check_names(list(item), columns, where, row, ignore_extra)
        return [item[name] for name in columns]
    if not isinstance(item, list):
        expected = f"an object by column name or an array of {len(columns)} values"
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


def _refuse(detail: str, row: int | None = None, place: Place | None = None) -> NoReturn:
    raise problems.invalid([Finding(detail, row, place)])


def batch_shape(signature: Signature) -> str:
    """The shape of a request's tensor, for errors."""
    return "[rows, " + ", ".join(str(size) for size in signature.input_shape) + "]"

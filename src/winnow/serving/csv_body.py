"""CSV with a header, as `pandas.DataFrame.to_csv` writes it, as one float32 array.

A field is read as training reads it: a number where its column has numbers, else a text as written.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator

from winnow.bundle.columns import MISSING
from winnow.serving import problems, rows, values
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix


def from_csv(body: bytes, signature: Signature) -> Matrix:
    """An array from CSV; columns that the model does not know are ignored.

    Raises ProblemError where it is no CSV in UTF-8, or its rows do not fit the model.
    """
    if signature.columns is None:
        shape = rows.batch_shape(signature)
        raise ProblemError("unsupported-media-type", f"This model takes tensors of shape {shape}: send JSON.")
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        return values.table(_cells(text, signature), signature.columns, lambda row: f"csv[{row}]")
    except UnicodeDecodeError:
        raise ProblemError("malformed-body", "Expected CSV in UTF-8.") from None
    except csv.Error as error:
        raise ProblemError("malformed-body", f"Expected CSV; {error}.") from None


def _cells(text: io.StringIO, signature: Signature) -> Iterator[list[object]]:
    """The values of the model's own columns, row by row."""
    lines = (line for line in csv.reader(text, strict=True) if line)
    header, first = next(lines, None), next(lines, None)
    if header is None or first is None:
        raise problems.invalid([Finding("csv: expected a line of column names and at least one row")])
    columns = signature.columns or ()
    rows.check_names(header, [column.name for column in columns], "csv", None, ignore_extra=True)
    place_of = {name: place for place, name in enumerate(header)}
    places = [(place_of[column.name], column.kind == "number") for column in columns]
    for row, cells in enumerate(itertools.chain([first], lines)):
        rows.check_count(row + 1, signature)
        if len(cells) != len(header):
            detail = f"csv[{row}]: expected {len(header)} fields, found {len(cells)}"
            raise problems.invalid([Finding(detail, row)])
        yield [_number(cells[place]) if is_number else cells[place] for place, is_number in places]


def _number(text: str) -> float | str | None:
    """A field's number, None if it is missing, or the text if it is no number (`1_000`, digits of other scripts)."""
    text = text.strip()
    if text in MISSING:
        return None
    try:
        return float(text) if text.isascii() and "_" not in text else text
    except ValueError:
        return text

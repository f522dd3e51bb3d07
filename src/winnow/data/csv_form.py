"""The form of a CSV file: one header, and as many fields in every row.

pandas fills short rows with missing values, keeps NUL bytes as text and reads a quote that is never closed to the end
of the file. This module reads the file first and refuses it with the line; values are left to pandas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import IO

from winnow.config.errors import InputError
from winnow.data.names import refuse_double_names

PLACE = "data.source"
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def check_csv(stream: IO[bytes], source: str) -> list[str]:
    """Read a CSV file through and return the names of its columns, "" for one without a name.

    Lines without text are skipped, as pandas skips them.

    Args:
        stream: the file's bytes, decompressed; it is read to its end and stays open.

    Raises:
        InputError: no header, two columns with one name, a row with fewer or more fields than the header, the header
            again, a quote that is not closed, NUL bytes, or bytes that are not UTF-8.
    """
    # newline="": line ends inside of quotes reach the csv module as they are.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.reader(_without_nul(text, source), strict=True)
    try:
        return _check_records(reader, source)
    except csv.Error as error:
        raise _not_the_form(
            source,
            f"'{error}' in the row that ends with line {reader.line_num}",
            "Close its quotes, and double the quotes inside of a field.",
        ) from error
    except UnicodeDecodeError as error:
        # Bytes are decoded some thousand at a time, ahead of the lines.
        where = f"after line {reader.line_num}" if reader.line_num else "near its start"
        found = f"the byte 0x{error.object[error.start]:02x}, which is not UTF-8, {where}"
        raise _not_the_form(source, found, "Save the file as UTF-8.") from error
    finally:
        text.detach()  # otherwise the wrapper closes the stream


def _check_records(reader: Iterator[list[str]], source: str) -> list[str]:
    header: list[str] = []
    last_line = 0
    for record in reader:
        line, last_line = last_line + 1, reader.line_num  # type: ignore[attr-defined]  # csv.reader's own attribute
        if not record or (len(record) == 1 and record[0].isspace()):
            continue
        if not header:
            header = record
            _refuse_other_delimiter(header, source)
            refuse_double_names(header, source)
        elif len(record) != len(header):
            raise _not_the_form(source, _lengths(record, header, line), "Correct this line; it may be cut off.")
        elif record == header:
            raise _not_the_form(source, f"the header again in line {line}", "Remove this line.")
    if not header:
        raise _not_the_form(source, "an empty file", "Write the file again.")
    return header


def _without_nul(lines: Iterator[str], source: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise _not_the_form(source, f"a NUL byte in line {number}", "Write the file again; it may be damaged.")
        yield line


def _lengths(record: list[str], header: list[str], line: int) -> str:
    fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
    return f"{fields} in line {line} for a header of {len(header)}"


def _refuse_other_delimiter(header: list[str], source: str) -> None:
    """A header of one name that holds another delimiter: the file is not separated by commas."""
    other = next((delimiter for delimiter in OTHER_DELIMITERS if delimiter in header[0]), None)
    if len(header) == 1 and other is not None:
        raise _not_the_form(
            source,
            f"a header separated by {OTHER_DELIMITERS[other]}",
            "Write it with commas, and with points in decimal numbers.",
        )


def _not_the_form(source: str, found: str, remedy: str) -> InputError:
    return InputError(
        PLACE,
        expected=f"comma-separated text in {source}, with one header and as many fields in every row",
        found=found,
        remedy=remedy,
    )

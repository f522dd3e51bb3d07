"""The rows of a CSV file as batches of texts, by Arrow's parser; the check of every line decides where it may err."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from winnow.config.errors import InputError
from winnow.data.csv_file import checked_csv
from winnow.data.stage.row_blocks import row_blocks
from winnow.data.stage.watched_bytes import WatchedBytes
from winnow.data.table_files import PLACE

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.config.experiment import RawReadConfig

BLOCK_BYTES = 2**23
"""How much of a file is parsed at once; no row may be larger."""


def csv_batches(content: IO[bytes], shown: str, read: RawReadConfig) -> Iterator[pa.RecordBatch]:
    """Rows of text; first a batch without rows. A file that leaves doubt is also checked line by line.

    Args:
        content: of the file, decompressed and seekable.
        shown: the file's path or URL, for messages.

    Raises:
        InputError: a column without a name, or rows that do not fit the header.
        ArrowInvalid: rows that are too large.
    """
    import pyarrow as pa

    delimiter, encoding, header = checked_csv(content, shown, read, whole=False)
    unnamed = header.index("") + 1 if "" in header else None
    if unnamed is not None:
        expected, remedy = f"a name for every column of {shown}", "Name it, or write the file without its index."
        raise InputError(PLACE, expected=expected, found=f"none for column {unnamed}", remedy=remedy)
    yield pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in header]))
    is_doubtful, parsed, missing = False, 0, ["", *read.missing]
    content.seek(0)
    try:
        if encoding == "utf-8" and delimiter.isascii():
            for block in row_blocks(WatchedBytes(content, delimiter), BLOCK_BYTES):
                for batch in _parsed(block, header, delimiter, missing, has_header=not parsed):
                    is_doubtful = is_doubtful or _has_doubt(batch, header, missing)
                    yield batch
                parsed += len(block)
            content.seek(parsed)
        if content.read(1):
            is_doubtful = True
            content.seek(max(0, parsed - 1))  # at a line feed, as for a block
            yield from _streamed(content, encoding, header, delimiter, missing, has_header=not parsed)
    except ValueError:  # also of Arrow
        content.seek(0)
        checked_csv(content, shown, read)
        raise
    if is_doubtful:
        content.seek(0)
        checked_csv(content, shown, read)


def _parsed(
    rows: bytes, header: list[str], delimiter: str, missing: list[str], *, has_header: bool
) -> list[pa.RecordBatch]:
    """The rows of a block, as one batch. Arrow need not look where rows end, for the block ends with one."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    # After a line feed, a byte order mark is text: it is none but at the start of the file.
    rows, names = (rows, None) if has_header else (b"\n" + rows, header)
    options = arrow_csv.ReadOptions(use_threads=False, block_size=len(rows) + 1, column_names=names)
    parse = arrow_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=_without_text)
    table = arrow_csv.read_csv(pa.BufferReader(rows), options, parse, _as_text(header, missing))
    batches: list[pa.RecordBatch] = table.to_batches()
    return batches


def _streamed(
    content: IO[bytes], encoding: str, header: list[str], delimiter: str, missing: list[str], *, has_header: bool
) -> Iterator[pa.RecordBatch]:
    """The rows from here to the end of a file."""
    from pyarrow import csv as arrow_csv

    names = None if has_header else header
    options = arrow_csv.ReadOptions(encoding=encoding, block_size=BLOCK_BYTES, column_names=names)
    parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=_without_text)
    yield from arrow_csv.open_csv(content, options, parse, _as_text(header, missing))


def _as_text(header: list[str], missing: list[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    types = dict.fromkeys(header, pa.string())
    return arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=missing)


def _without_text(row: Any) -> str:
    """Skip a line without text, as the check and training do."""
    return "skip" if row.text.isspace() else "error"


def _has_doubt(batch: pa.RecordBatch, header: list[str], missing: list[str]) -> bool:
    """Whether the header may be among the rows, or a field may be too long for the check."""
    import pyarrow.compute as pc

    limit = csv.field_size_limit()
    if any(_longest_text(column) >= limit for column in batch.columns):
        return True
    is_header = True
    for name, column in zip(header, batch.columns, strict=True):
        is_header = pc.and_(is_header, column.is_null() if name in missing else pc.equal(column, name))
        if not pc.any(is_header).as_py():
            return False
    return True


def _longest_text(column: pa.StringArray) -> int:
    """The most bytes of a text; 0 without rows."""
    import numpy as np

    ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return int(np.diff(ends).max(initial=0))

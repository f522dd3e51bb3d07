"""The rows of a CSV file as batches of texts, by Arrow's parser; the check of every line decides where it may err.

The check takes longer than to read a file, and is left out where the file leaves no doubt. Such a file is cut where
rows end: blocks that are parsed one by one take half as long as a stream.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from winnow.config.errors import InputError
from winnow.data.csv_file import checked_csv
from winnow.data.table_files import PLACE

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.config.experiment import RawReadConfig

BLOCK_BYTES = 2**23
"""How much of a file is parsed at once; no row may be larger."""
QUOTE = b'"'


def csv_batches(content: IO[bytes], shown: str, read: RawReadConfig) -> Iterator[pa.RecordBatch]:
    """Rows of text; first a batch without rows. A file that leaves doubt is also checked line by line.

    Args:
        content: of the file, decompressed and seekable.

    Raises:
        InputError: a column without a name, or rows that do not fit the header.
        ArrowInvalid: rows that are too large.
    """
    import pyarrow as pa

    delimiter, encoding, header = checked_csv(content, shown, read, whole=False)
    if "" in header:
        expected, found = f"a name for every column of {shown}", f"none for column {header.index('') + 1}"
        raise InputError(PLACE, expected=expected, found=found, remedy="Name it, or write the file without its index.")
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
    ends = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    return int(np.diff(ends).max(initial=0))


class WatchedBytes:
    """The bytes of a CSV file in UTF-8 on their way to a reader, who reads them once from start to end.

    They leave no doubt about where fields end if no byte is NUL and every quote opens a field, closes it, or is one of
    a pair within it. All readers agree on such a file.

    Attributes:
        is_doubtful: whether there is doubt in what was read so far; also with a quote that is not closed at the end.
        is_quoted: whether what was read ends within quotes.
    """

    def __init__(self, content: IO[bytes], delimiter: str) -> None:
        """Watch `content`, whose fields are separated by one byte."""
        self.is_doubtful = False
        self._content = content
        self.is_quoted, self._is_first, self._last = False, True, b"\n"
        self._may_adjoin = np.zeros(256, bool)  # a quote, on its outer side
        self._may_adjoin[[*delimiter.encode(), *b'\r\n"']] = True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none at the end."""
        block = self._content.read(size)
        if not block:
            self.is_doubtful = self.is_doubtful or self.is_quoted
        elif not self.is_doubtful:
            self.is_doubtful = self._has_doubt(block.removeprefix(codecs.BOM_UTF8) if self._is_first else block)
            self._is_first = False
        return block

    def _has_doubt(self, block: bytes) -> bool:
        if b"\0" in block:
            return True
        has_just_closed = self._last == QUOTE and not self.is_quoted
        if not block or not (has_just_closed or QUOTE in block):
            self._last = block[-1:] or self._last
            return False
        text = np.frombuffer(self._last + block, np.uint8)
        quotes = np.flatnonzero(text[1:] == ord(QUOTE)) + 1
        opening, closing = quotes[int(self.is_quoted) :: 2], quotes[1 - int(self.is_quoted) :: 2]
        outer = [text[opening - 1], text[closing[closing < len(text) - 1] + 1], text[1:2] if has_just_closed else ()]
        self.is_quoted ^= len(quotes) % 2 == 1
        self._last = block[-1:]
        return not all(self._may_adjoin[each].all() for each in outer if len(each))


def row_blocks(content: WatchedBytes, size: int) -> Iterator[bytes]:
    """The blocks of a file from its start up to its end, to a doubt, or to a row that is longer than `size` bytes."""
    rest = b""
    while block := content.read(size):
        rest += block
        end = 0 if content.is_doubtful else _end_of_rows(rest, is_quoted=content.is_quoted)
        if not end and (content.is_doubtful or len(rest) >= size):
            return
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest and not content.is_doubtful:
        yield rest


def _end_of_rows(text: bytes, *, is_quoted: bool) -> int:
    """Where the last whole row ends; 0 for none. `is_quoted`: whether the text ends within quotes."""
    end = len(text)
    while (place := text.rfind(b"\n", 0, end)) >= 0:
        is_quoted ^= text.count(QUOTE, place, end) % 2 == 1
        if not is_quoted:
            return place + 1
        end = place
    return 0

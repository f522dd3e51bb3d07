"""CSV files as DataFrames.

pandas would fill short rows with missing values, keep NUL bytes as text and read an unclosed quote to the end of the
file. So every file is first checked line by line, and the error names the line. What separates fields, and whether
numbers have a decimal comma, is recognized unless the experiment file says it.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import lzma
import zipfile
from collections.abc import Collection, Container, Iterator
from typing import IO, TYPE_CHECKING, Any

from winnow.bundle.columns import MISSING
from winnow.config.errors import InputError
from winnow.data.refusals import refuse_double_names

if TYPE_CHECKING:
    import pandas as pd

    from winnow.config.experiment import RawReadConfig, ReadConfig

PLACE = "data.source"
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE_CHARACTERS, SAMPLE_RECORDS = 2**16, 100
COMMA_NUMBER = r"\s*[+-]?(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)(?:[eE][+-]?[0-9]+)?\s*"
THOUSANDS = r"\s*[+-]?(?:0|[1-9][0-9]{0,2}(?:,[0-9]{3})*)\s*"


def read_csv(content: IO[bytes], name: str, read: ReadConfig, texts: Container[str], labels: Container[str]) -> Any:
    """Read a CSV file.

    Args:
        content: of the file, decompressed and seekable.
        texts: columns to read as text.
        labels: columns to read as text in which only an empty field is missing.

    Raises:
        InputError: no header, two columns of one name, rows that do not fit the header, or numbers of which the
            decimal mark is not clear.
    """
    import pandas as pd

    options = _options(content, name, read, texts, labels)
    return _with_decimals(pd.read_csv(content, low_memory=False, **options), options["sep"], name, read, labels)


def csv_parts(
    content: IO[bytes], name: str, read: ReadConfig, texts: Container[str], labels: Container[str], rows: int
) -> Iterator[Any]:
    """The same in parts of at most so many rows, of which each has types of its own. Arguments as for `read_csv`."""
    import pandas as pd

    options = _options(content, name, read, texts, labels)
    with pd.read_csv(content, chunksize=rows, **options) as parts:
        for part in parts:
            yield _with_decimals(part.reset_index(drop=True), options["sep"], name, read, labels)


def _options(
    content: IO[bytes], name: str, read: ReadConfig, texts: Container[str], labels: Container[str]
) -> dict[str, Any]:
    """How pandas reads a file, which is checked line by line here."""
    delimiter, encoding, names = checked_csv(content, name, read)
    content.seek(0)
    named_by_pandas = [column or f"Unnamed: {index}" for index, column in enumerate(names)]
    missing = sorted(MISSING.union(read.missing))
    return {
        "index_col": False,
        "sep": delimiter,
        "decimal": read.decimal or ".",
        "encoding": encoding,
        "dtype": {column: "str" for column in names if column in labels or column in texts},
        "keep_default_na": False,
        "na_values": {column: ["", *read.missing] if column in labels else missing for column in named_by_pandas},
        "dtype_backend": "numpy_nullable",  # integers stay exact beside missing values
    }


def checked_csv(
    content: IO[bytes], name: str, read: RawReadConfig, *, whole: bool = True
) -> tuple[str, str, list[str]]:
    """Read a CSV file line by line: its delimiter, its encoding for readers, and the names of its columns.

    Args:
        whole: read it to its end; otherwise to the end of its header.

    Raises:
        InputError: as `read_csv`.
    """
    encoding = _decoding(read.encoding)
    delimiter = read.delimiter or _recognized_delimiter(content, encoding)
    names = _check_csv(content, name, delimiter, read.encoding, whole=whole)
    return delimiter, "utf-8" if encoding == "utf-8-sig" else encoding, names


def _with_decimals(frame: Any, delimiter: str, name: str, read: ReadConfig, labels: Container[str]) -> Any:
    frame = frame.rename(columns=str)
    if read.decimal == ",":
        return _with_points(frame, [column for column in frame.columns if column in labels])
    return frame if read.decimal == "." or delimiter == "," else _without_commas(frame, labels, name)


def decompressed(stream: IO[bytes], compression: str) -> IO[bytes]:
    """The content of a file, seekable; `compression` is the ending of its name, "" for none.

    Raises:
        ValueError: a zip file that does not hold exactly one file, or one with a password.
    """
    if compression == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))
    if compression == ".bz2":
        return bz2.BZ2File(stream)
    if compression == ".xz":
        return lzma.LZMAFile(stream)
    if compression == ".zst":
        import pyarrow as pa

        return io.BytesIO(pa.CompressedInputStream(stream, "zstd").read())
    if compression != ".zip":
        return stream
    archive = zipfile.ZipFile(stream)
    files = [one for one in archive.infolist() if not one.is_dir()]
    if len(files) != 1:
        raise ValueError(f"a zip file that holds {len(files)} files")
    if files[0].flag_bits & 1:
        raise ValueError("a zip file with a password")
    return archive.open(files[0])


def _decoding(encoding: str) -> str:
    """The codec that also removes a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


def _recognized_delimiter(content: IO[bytes], encoding: str) -> str:
    """What splits the header, and the first rows into as many fields; the most fields win, then the order above."""
    text = io.TextIOWrapper(content, encoding=encoding, errors="replace", newline="")
    sample = text.read(SAMPLE_CHARACTERS)
    text.detach()
    content.seek(0)
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(sample) == SAMPLE_CHARACTERS and len(lines) > 1 else lines

    def fit(delimiter: str) -> tuple[bool, float, int]:
        rows = csv.reader((line.replace("\0", "") for line in lines), delimiter=delimiter)
        widths = [len(row) for row in itertools.islice(filter(None, rows), SAMPLE_RECORDS)]
        width = widths[0] if widths else 0
        return width > 1, widths.count(width) / max(1, len(widths)), width

    return max(DELIMITERS, key=fit)


def _check_csv(stream: IO[bytes], source: str, delimiter: str, encoding: str, *, whole: bool) -> list[str]:
    """Read a CSV file to its end, or to that of its header, and return its columns' names, "" where there is none."""
    # With newline="" line ends inside quotes reach the csv module unchanged.
    text = io.TextIOWrapper(stream, encoding=_decoding(encoding), newline="")
    shown = DELIMITERS.get(delimiter, f"{delimiter!r}")
    reader = csv.reader(_without_nul(text, source, shown), delimiter=delimiter, strict=True)
    try:
        return _check_records(reader, source, shown, whole=whole)
    except csv.Error as error:
        found = f"'{error}' in the row that ends with line {reader.line_num}"
        remedy = "Close its quotes, and double the quotes inside a field."
        raise _wrong_text(source, found, remedy, shown) from error
    except UnicodeDecodeError as error:
        # Bytes are decoded in blocks, ahead of the lines.
        where = f"after line {reader.line_num}" if reader.line_num else "near its start"
        found = f"the byte 0x{error.object[error.start]:02x}, which is not {encoding.upper()}, {where}"
        other = "utf-16" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") and error.start == 0 else "cp1252"
        other = "utf-8" if encoding.lower() == other else other
        remedy = f"Name its encoding, such as `data.read: {{encoding: {other}}}`, or save it as UTF-8."
        raise _wrong_text(source, found, remedy, shown) from error
    finally:
        text.detach()  # otherwise the wrapper closes the stream


def _check_records(reader: Iterator[list[str]], source: str, shown: str, *, whole: bool) -> list[str]:
    header: list[str] = []
    last_line = 0
    for record in reader:
        line, last_line = last_line + 1, reader.line_num  # type: ignore[attr-defined]  # csv.reader's own attribute
        if not record or (len(record) == 1 and record[0].isspace()):
            continue  # pandas skips lines without text, too
        if not header:
            header = record
            refuse_double_names(header, source)
            if not whole:
                break
        elif len(record) != len(header):
            fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
            found = f"{fields} in line {line} for a header of {len(header)}"
            raise _wrong_text(source, found, "Correct this line; it may be cut off.", shown)
        elif record == header:
            raise _wrong_text(source, f"the header again in line {line}", "Remove this line.", shown)
    if not header:
        raise _wrong_text(source, "an empty file", "Write the file again.", shown)
    return header


def _without_nul(lines: Iterator[str], source: str, shown: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            remedy = (
                "Write the file again, for it may be damaged; or set `data.read: {encoding: utf-16}` if it is that."
            )
            raise _wrong_text(source, f"a NUL byte in line {number}", remedy, shown)
        yield line


def _without_commas(frame: pd.DataFrame, labels: Container[str], source: str) -> pd.DataFrame:
    """Numbers in place of the texts of columns that hold nothing but numbers with decimal commas."""
    import pandas as pd

    texts = [column for column in frame.columns if isinstance(frame[column].dtype, pd.StringDtype)]
    present = {column: frame[column].dropna().str for column in texts}
    found = [column for column in texts if present[column].contains(",").any()]
    found = [column for column in found if present[column].fullmatch(COMMA_NUMBER).all()]
    if not found:
        return frame
    floats = next((str(column) for column in frame.columns if pd.api.types.is_float_dtype(frame[column])), None)
    if floats is not None:
        raise _unclear(source, f"commas in column '{found[0]}' and points in column '{floats}'")
    unclear = next((column for column in found if present[column].fullmatch(THOUSANDS).all()), None)
    if unclear is not None:
        text = next(text for text in frame[unclear].dropna() if "," in text)
        raise _unclear(source, f"'{text}' in column '{unclear}', where the comma may separate thousands")
    frame = _with_points(frame, found)
    numbers = [column for column in found if column not in labels]
    return frame.assign(**{column: pd.to_numeric(frame[column].str.strip()).astype("Float64") for column in numbers})


def _with_points(frame: pd.DataFrame, columns: Collection[str]) -> pd.DataFrame:
    """Decimal points in columns of text that hold nothing but numbers with decimal commas."""
    changed = {}
    for column in columns:
        present = frame[column].dropna().str
        if present.fullmatch(COMMA_NUMBER).all():
            changed[column] = frame[column].str.replace(",", ".", regex=False)
    return frame.assign(**changed)


def _unclear(source: str, found: str) -> InputError:
    return InputError(
        PLACE,
        expected=f"numbers in {source} of which the decimal mark is clear",
        found=found,
        remedy='Set `data.read: {decimal: ","}`, or `decimal: "."`.',
    )


def _wrong_text(source: str, found: str, remedy: str, shown: str) -> InputError:
    kind = "comma-separated text" if shown == "commas" else f"text separated by {shown}"
    expected = f"{kind} in {source}, with one header and as many fields in every row"
    return InputError(PLACE, expected=expected, found=found, remedy=remedy)

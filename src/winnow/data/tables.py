"""CSV and Parquet, from a path or a URL, as a DataFrame.

pandas reads CSV numbers exactly, so that the same rows give the same digest from either format. Nothing is repaired.
pandas would fill short rows with missing values, keep NUL bytes as text and read a quote that is never closed to the
end of the file, so every CSV file is checked line by line first and refused with the line. Its labels stay text until
`labels` gives them a type. A URL is fetched whole: a sweep holds its data in memory anyway.
"""

from __future__ import annotations

import bz2
import csv
import difflib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.data.labels import MISSING
from winnow.data.names import refuse_double_names

if TYPE_CHECKING:
    import pandas as pd

PLACE = "data.source"
PARQUET = frozenset({".parquet", ".pq"})
COMPRESSIONS = frozenset({".gz", ".bz2", ".xz", ".zip"})
OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
FETCH_TIMEOUT_S = 60


def is_csv(source: str) -> bool:
    """Whether a path or URL names a CSV file, compressed or not."""
    name = _name_of(source)
    return (name.with_suffix("") if name.suffix in COMPRESSIONS else name).suffix == ".csv"


def read_table(source: str, labels: Collection[str]) -> pd.DataFrame:
    """Read a table.

    Args:
        source: a path from the working directory, or a URL with the scheme http, https or s3; it ends with .csv
            (perhaps compressed: .csv.gz) or .parquet.
        labels: columns of a CSV file to read as text, in which only an empty field is missing. Columns of a Parquet
            file have types of their own.

    Raises:
        InputError: it is missing, empty or unreadable, has another format, two columns of one name, or rows that do
            not fit its header.
    """
    import pyarrow as pa

    if not is_csv(source) and _name_of(source).suffix not in PARQUET:
        raise InputError(
            PLACE,
            expected="`sklearn:NAME`, a .csv or .parquet file or URL, or a data function `package.module:function`",
            found=f"'{source}'",
            remedy="Convert the file, or read it in a data function.",
        )
    stream = _fetch(source) if "://" in source else _open(source)
    try:
        with stream:
            if not is_csv(source):
                return _read_parquet(stream, source)
            with _decompressed(stream, source) as content:
                return _read_csv(content, source, labels)
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise _unreadable(source, f"'{_first_line(error)}'") from error


def take_column(frame: pd.DataFrame, name: str, place: str, source: str) -> pd.Series[Any]:
    """One column by name.

    Raises:
        InputError: there is no such column; the nearest name is proposed.
    """
    if name in frame.columns:
        return frame[name]
    nearest = difflib.get_close_matches(name, list(frame.columns), n=1)
    shown = ", ".join(list(frame.columns)[:12]) + (", …" if len(frame.columns) > 12 else "")
    raise InputError(
        place,
        expected=f"the name of a column of {source}",
        found=f"'{name}'",
        remedy=f"Did you mean '{nearest[0]}'?" if nearest else f"Its columns are {shown}.",
    )


def _name_of(source: str) -> PurePosixPath:
    return PurePosixPath((urlsplit(source).path if "://" in source else source).lower())


def _read_parquet(stream: IO[bytes], source: str) -> pd.DataFrame:
    """A frame whose index, where it was given a name, is a column like the others."""
    import pandas as pd
    import pyarrow.parquet as pq

    table = pq.ParquetFile(stream)
    refuse_double_names(table.schema_arrow.names, source)
    frame = pd.read_parquet(stream, dtype_backend="numpy_nullable")
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(drop=not named).rename(columns=str)
    refuse_double_names(frame.columns, source)
    return frame


def _read_csv(content: IO[bytes], source: str, labels: Collection[str]) -> pd.DataFrame:
    import pandas as pd

    names = _check_csv(content, source)
    content.seek(0)
    as_text = [name for name in names if name in labels]
    missing = {name: [""] if name in labels else sorted(MISSING) for name in _named_by_pandas(names)}
    frame = pd.read_csv(
        content,
        low_memory=False,
        index_col=False,
        encoding="utf-8",
        dtype=dict.fromkeys(as_text, "str"),
        keep_default_na=False,
        na_values=missing,
        dtype_backend="numpy_nullable",  # integers stay exact beside missing values
    )
    return frame.rename(columns=str)


def _check_csv(stream: IO[bytes], source: str) -> list[str]:
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
        raise _not_comma_separated(
            source,
            f"'{error}' in the row that ends with line {reader.line_num}",
            "Close its quotes, and double the quotes inside of a field.",
        ) from error
    except UnicodeDecodeError as error:
        # Bytes are decoded some thousand at a time, ahead of the lines.
        where = f"after line {reader.line_num}" if reader.line_num else "near its start"
        found = f"the byte 0x{error.object[error.start]:02x}, which is not UTF-8, {where}"
        raise _not_comma_separated(source, found, "Save the file as UTF-8.") from error
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
            raise _not_comma_separated(source, _lengths(record, header, line), "Correct this line; it may be cut off.")
        elif record == header:
            raise _not_comma_separated(source, f"the header again in line {line}", "Remove this line.")
    if not header:
        raise _not_comma_separated(source, "an empty file", "Write the file again.")
    return header


def _without_nul(lines: Iterator[str], source: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise _not_comma_separated(
                source, f"a NUL byte in line {number}", "Write the file again; it may be damaged."
            )
        yield line


def _lengths(record: list[str], header: list[str], line: int) -> str:
    fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
    return f"{fields} in line {line} for a header of {len(header)}"


def _refuse_other_delimiter(header: list[str], source: str) -> None:
    """A header of one name that holds another delimiter: the file is not separated by commas."""
    other = next((delimiter for delimiter in OTHER_DELIMITERS if delimiter in header[0]), None)
    if len(header) == 1 and other is not None:
        raise _not_comma_separated(
            source,
            f"a header separated by {OTHER_DELIMITERS[other]}",
            "Write it with commas, and with points in decimal numbers.",
        )


def _not_comma_separated(source: str, found: str, remedy: str) -> InputError:
    return InputError(
        PLACE,
        expected=f"comma-separated text in {source}, with one header and as many fields in every row",
        found=found,
        remedy=remedy,
    )


def _named_by_pandas(names: list[str]) -> list[str]:
    return [name or f"Unnamed: {index}" for index, name in enumerate(names)]


def _decompressed(stream: IO[bytes], source: str) -> IO[bytes]:
    """The content of a perhaps compressed file, which can be read twice.

    Raises:
        ValueError: a zip file that holds more or less than one file, or one with a password.
    """
    suffix = _name_of(source).suffix
    if suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=stream))
    if suffix == ".bz2":
        return bz2.BZ2File(stream)
    if suffix == ".xz":
        return lzma.LZMAFile(stream)
    if suffix != ".zip":
        return stream
    archive = zipfile.ZipFile(stream)
    files = [one for one in archive.infolist() if not one.is_dir()]
    if len(files) != 1:
        raise ValueError(f"a zip file that holds {len(files)} files")
    if files[0].flag_bits & 1:
        raise ValueError("a zip file with a password")
    return archive.open(files[0])


def _open(source: str) -> io.BufferedReader:
    path = Path(source).expanduser()
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(
            PLACE,
            expected=f"a file that can be read at {path.absolute()}",
            found="no such file" if isinstance(error, FileNotFoundError) else f"'{error.strerror}'",
            remedy=_nearest_file(path),
        ) from error


def _nearest_file(path: Path) -> str:
    try:
        names = [file.name for file in path.parent.iterdir()]
    except OSError:
        names = []
    nearest = difflib.get_close_matches(path.name, names, n=1, cutoff=0.8)
    if nearest and nearest[0] != path.name:
        return f"Did you mean '{nearest[0]}'?"
    return f"Paths count from the working directory; `{next_command('generate-data')}` writes a file to try."


def _fetch(url: str) -> io.BytesIO:
    """The bytes behind a URL.

    Raises:
        InputError: unknown scheme, unreachable, or refused.
    """
    scheme = urlsplit(url).scheme
    if scheme == "s3":
        return io.BytesIO(_fetch_s3(url))
    if scheme not in ("http", "https"):
        raise InputError(
            PLACE,
            expected="a URL that begins with http://, https:// or s3://",
            found=f"'{url}'",
            remedy="Download the file, or read it in a data function.",
        )
    try:
        with urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:
            return io.BytesIO(answer.read())
    except HTTPError as error:
        error.close()
        raise _unreachable(url, f"'{error.code} {error.reason}'") from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise _unreachable(url, f"'{getattr(error, 'reason', error)}'") from error


def _fetch_s3(url: str) -> bytes:
    """The bytes of an S3 object; credentials and endpoint as the AWS tools read them (AWS_ENDPOINT_URL, …)."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError as error:
        raise InputError(
            PLACE,
            expected=f"the package {error.name}, which reads {url}",
            found="that it is not installed",
            remedy="Install it: pip install 'winnow[s3]'.",
        ) from error
    parts = urlsplit(url)
    try:
        answer = boto3.client("s3").get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"))
        content: bytes = answer["Body"].read()
    except (BotoCoreError, ClientError) as error:
        raise _unreachable(url, f"'{_first_line(error)}'") from error
    return content


def _unreadable(source: str, found: str) -> InputError:
    return InputError(
        PLACE,
        expected=f"a table with one row of names and one row for each example in {source}",
        found=found,
        remedy="Write the file again, or read it in a data function.",
    )


def _unreachable(url: str, found: str) -> InputError:
    return InputError(
        PLACE,
        expected=f"to fetch {url}",
        found=found,
        remedy="Correct the URL, check credentials and network, or download the file.",
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]

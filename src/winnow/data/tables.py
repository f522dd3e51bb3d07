"""CSV and Parquet files, from a path or a URL, as a DataFrame.

pandas would fill short rows with missing values, keep NUL bytes as text and read an unclosed quote to the end of the
file. So every CSV file is first checked line by line, and the error names the line. Labels stay text until `labels`
gives them a type. A URL is fetched whole, since a sweep holds its data in memory.
"""

from __future__ import annotations

import bz2
import csv
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

from winnow.bundle.columns import MISSING
from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_command
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
        source: a path from the working directory, or an http, https or s3 URL; it ends with .csv (perhaps compressed:
            .csv.gz) or .parquet.
        labels: columns of a CSV file to read as text, in which only an empty field is missing. Columns of a Parquet
            file have their own types.

    Raises:
        InputError: it is missing, empty or unreadable, has another format or two columns of one name, or its rows do
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
        raise InputError(
            PLACE,
            expected=f"a table with one row of names and one row for each example in {source}",
            found=f"'{_first_line(error)}'",
            remedy="Write the file again, or read it in a data function.",
        ) from error


def take_column(frame: pd.DataFrame, name: str, place: str, source: str) -> pd.Series[Any]:
    """One column by name.

    Raises:
        InputError: there is no such column; the error suggests the nearest name.
    """
    if name in frame.columns:
        return frame[name]
    shown = ", ".join(list(frame.columns)[:12]) + (", …" if len(frame.columns) > 12 else "")
    raise InputError(
        place,
        expected=f"the name of a column of {source}",
        found=f"'{name}'",
        remedy=did_you_mean(name, frame.columns) or f"Its columns are {shown}.",
    )


def _name_of(source: str) -> PurePosixPath:
    return PurePosixPath((urlsplit(source).path if "://" in source else source).lower())


def _read_parquet(stream: IO[bytes], source: str) -> pd.DataFrame:
    """The file as a frame; a named index becomes a column."""
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
    named_by_pandas = [name or f"Unnamed: {index}" for index, name in enumerate(names)]
    frame = pd.read_csv(
        content,
        low_memory=False,
        index_col=False,
        encoding="utf-8",
        dtype={name: "str" for name in names if name in labels},
        keep_default_na=False,
        na_values={name: [""] if name in labels else sorted(MISSING) for name in named_by_pandas},
        dtype_backend="numpy_nullable",  # integers stay exact beside missing values
    )
    return frame.rename(columns=str)


def _check_csv(stream: IO[bytes], source: str) -> list[str]:
    """Read a CSV file to its end and return the names of its columns, "" for one without a name.

    Raises:
        InputError: no header, two columns with one name, a row with fewer or more fields than the header, the header
            again, a quote that is not closed, NUL bytes, or bytes that are not UTF-8.
    """
    # With newline="" line ends inside quotes reach the csv module unchanged.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = csv.reader(_without_nul(text, source), strict=True)
    try:
        return _check_records(reader, source)
    except csv.Error as error:
        found = f"'{error}' in the row that ends with line {reader.line_num}"
        remedy = "Close its quotes, and double the quotes inside a field."
        raise _not_comma_separated(source, found, remedy) from error
    except UnicodeDecodeError as error:
        # Bytes are decoded in blocks, ahead of the lines.
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
            continue  # pandas skips lines without text, too
        if not header:
            header = record
            other = next((name for delimiter, name in OTHER_DELIMITERS.items() if delimiter in header[0]), None)
            if len(header) == 1 and other is not None:
                remedy = "Write it with commas, and with points in decimal numbers."
                raise _not_comma_separated(source, f"a header separated by {other}", remedy)
            refuse_double_names(header, source)
        elif len(record) != len(header):
            fields = "1 field" if len(record) == 1 else f"{len(record)} fields"
            found = f"{fields} in line {line} for a header of {len(header)}"
            raise _not_comma_separated(source, found, "Correct this line; it may be cut off.")
        elif record == header:
            raise _not_comma_separated(source, f"the header again in line {line}", "Remove this line.")
    if not header:
        raise _not_comma_separated(source, "an empty file", "Write the file again.")
    return header


def _without_nul(lines: Iterator[str], source: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            found, remedy = f"a NUL byte in line {number}", "Write the file again; it may be damaged."
            raise _not_comma_separated(source, found, remedy)
        yield line


def _not_comma_separated(source: str, found: str, remedy: str) -> InputError:
    expected = f"comma-separated text in {source}, with one header and as many fields in every row"
    return InputError(PLACE, expected=expected, found=found, remedy=remedy)


def _decompressed(stream: IO[bytes], source: str) -> IO[bytes]:
    """The content of a file that may be compressed, seekable.

    Raises:
        ValueError: a zip file that does not hold exactly one file, or one with a password.
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
        files = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        suggestion = did_you_mean(path.name, set(files) - {path.name}, cutoff=0.8)
        example = f"Paths start at the working directory; `{next_command('generate-data')}` writes a file to try."
        raise InputError(
            PLACE,
            expected=f"a file that can be read at {path.absolute()}",
            found="no such file" if isinstance(error, FileNotFoundError) else f"'{error.strerror}'",
            remedy=suggestion or example,
        ) from error


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
    """The bytes of an S3 object, with the AWS tools' own configuration (AWS_ENDPOINT_URL, credentials, …)."""
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


def _unreachable(url: str, found: str) -> InputError:
    remedy = "Correct the URL, check credentials and network, or download the file."
    return InputError(PLACE, expected=f"to fetch {url}", found=found, remedy=remedy)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]

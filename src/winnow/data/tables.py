"""CSV and Parquet, from a path or a URL, as a DataFrame.

pandas reads CSV numbers exactly, so that the same rows give the same digest from either format. A URL is fetched whole:
a sweep holds its data in memory anyway.
"""

from __future__ import annotations

import difflib
import io
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from winnow.config.errors import InputError
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    import pandas as pd

PLACE = "data.source"
PARQUET = frozenset({".parquet", ".pq"})
COMPRESSIONS: dict[str, Literal["gzip", "bz2", "xz", "zip"]] = {
    ".gz": "gzip",
    ".bz2": "bz2",
    ".xz": "xz",
    ".zip": "zip",
}
FETCH_TIMEOUT_S = 60


def read_table(source: str) -> pd.DataFrame:
    """Read a table.

    Args:
        source: a path from the working directory, or a URL with the scheme http, https or s3; it ends with .csv
            (perhaps compressed: .csv.gz) or .parquet.

    Raises:
        InputError: it is missing, empty or unreadable, has another format, or its rows do not fit its header.
    """
    import pandas as pd
    import pyarrow as pa

    path = urlsplit(source).path if "://" in source else source
    read = _reader(path, source)
    stream = _fetch(source) if "://" in source else _open(source)
    try:
        with stream, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read(stream)
    except pd.errors.EmptyDataError as error:
        raise _unreadable(source, "an empty file") from error
    except pd.errors.ParserWarning as error:
        raise _unreadable(source, "rows with more values than the header has names") from error
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException) as error:
        raise _unreadable(source, f"'{_first_line(error)}'") from error
    if not frame.columns.is_unique:
        double = frame.columns[frame.columns.duplicated()][0]
        raise _unreadable(source, f"two columns named '{double}'")
    return frame.rename(columns=str)


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


def _reader(path: str, source: str) -> Callable[[IO[bytes]], pd.DataFrame]:
    """The function that reads an open file of this name."""
    import pandas as pd

    name = PurePosixPath(path.lower())
    if name.suffix in PARQUET:
        return lambda stream: _with_index(pd.read_parquet(stream))
    compression = COMPRESSIONS.get(name.suffix)
    if (name.with_suffix("") if compression else name).suffix == ".csv":
        # Without `index_col=False` values too many would become an index, and every name would mean another column.
        return lambda stream: pd.read_csv(stream, low_memory=False, index_col=False, compression=compression)
    raise InputError(
        PLACE,
        expected="`sklearn:NAME`, a .csv or .parquet file or URL, or a data function `package.module:function`",
        found=f"'{source}'",
        remedy="Convert the file, or read it in a data function.",
    )


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose index, where it was given a name, is a column like the others."""
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(drop=not named)


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

"""Tables of files and databases as one DataFrame each.

Files are CSV, Parquet or Arrow, from paths or URLs; several of them are read one after the other and must have the same
columns. Labels of CSV files stay text until `labels` gives them a type.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from winnow.config.addresses import with_variables
from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.data.columnar import read_arrow, read_parquet
from winnow.data.csv_file import decompressed, read_csv
from winnow.data.sql import is_database, name_of_database, read_query
from winnow.data.table_files import PLACE, TableFile, list_files, opened

if TYPE_CHECKING:
    import pandas as pd

    from winnow.config.experiment import DataConfig

NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it was read.

    Attributes:
        name: the file's, folder's or database's, for display.
        has_types: whether columns have types; the labels of CSV files are text.
    """

    name: str
    frame: pd.DataFrame
    has_types: bool


def read_table(config: DataConfig, labels: Collection[str] = (), environment: Mapping[str, str] = os.environ) -> Table:
    """Read the files, or the query, of an experiment.

    Args:
        labels: columns of CSV files to read as text, in which only an empty field is missing.

    Raises:
        InputError: they are missing, empty or unreadable, of an unknown format, have two columns of one name or differ
            in their columns; a variable that is not set; or settings that the source has no use for.
    """
    sources = [with_environment(source, environment) for source in config.sources]
    if len(sources) == 1 and (is_database(sources[0]) or (config.query is not None and "://" in sources[0])):
        _refuse_reading(config, "a database")
        return Table(name_of_database(sources[0]), read_query(sources[0], config.query), has_types=True)
    if config.query is not None:
        expected, remedy = "a query for a database alone", "Remove `data.query`, or name a database as `data.source`."
        raise InputError("data.query", expected=expected, found=f"one for '{config.shown_source}'", remedy=remedy)
    files = list_files(sources, config.read.format)
    name = files[0].name
    if len(files) > 1 and len(sources) > 1:
        name = f"{name} and {len(files) - 1} more"
    elif len(files) > 1:
        name = PurePosixPath(urlsplit(sources[0]).path if "://" in sources[0] else sources[0]).name or name
    kind = config.read.format if config.read.format != "auto" else files[0].format
    if kind != "csv":
        _refuse_reading(config, f"{kind} files")
    frames = [_read(file, kind, config, (), labels) for file in files]
    _refuse_other_columns(files, frames)
    if kind != "csv":
        _refuse_other_types(files, frames)
        return Table(name, joined(files, frames), has_types=True)
    kinds = {column: {_kind(frame[column]) for frame in frames} - {"nothing"} for column in frames[0].columns}
    texts = [column for column, found in kinds.items() if len(found) > 1]
    if texts:  # as in one file, one text makes the whole column text
        frames = [_read(file, kind, config, texts, labels) for file in files]
    return Table(name, joined(files, frames), has_types=False)


def take_column(frame: pd.DataFrame, name: str, place: str, source: str) -> pd.Series[Any]:
    """One column by name. Raises InputError for another name, with the nearest one."""
    if name in frame.columns:
        return frame[name]
    shown = ", ".join(list(frame.columns)[:12]) + (", …" if len(frame.columns) > 12 else "")
    raise InputError(
        place,
        expected=f"the name of a column of {source}",
        found=f"'{name}'",
        remedy=did_you_mean(name, frame.columns) or f"Its columns are {shown}.",
    )


def with_environment(source: str, environment: Mapping[str, str]) -> str:
    """A source with the values of the environment variables that it names.

    Raises:
        InputError: one of them is not set.
    """
    try:
        return with_variables(source, environment)
    except KeyError as error:
        name = error.args[0]
        raise InputError(
            PLACE,
            expected=f"a value of ${{{name}}}",
            found="that the variable is not set",
            remedy=f"Export {name}, and pass it on to the workers: `execution.secrets: [{name}]`.",
        ) from error


def _refuse_reading(config: DataConfig, what: str) -> None:
    fields = type(config.read).model_fields
    given = [name for name in fields if name != "format" and getattr(config.read, name) != fields[name].default]
    if given:
        raise InputError(
            f"data.read.{given[0]}",
            expected="settings of CSV files for CSV files alone",
            found=f"`{given[0]}` for {what}",
            remedy="Remove it.",
        )


def _read(
    file: TableFile, kind: str | None, config: DataConfig, texts: Collection[str], labels: Collection[str]
) -> pd.DataFrame:
    """One file; `texts` and `labels` are columns of a CSV file to read as text."""
    with opened(file) as stream:
        if kind == "parquet":
            return read_parquet(stream, file.name)
        if kind == "arrow":
            return read_arrow(stream, file.name)
        with decompressed(stream, file.compression) as content:
            frame: pd.DataFrame = read_csv(content, file.name, config.read, texts, labels)
            return frame


def _refuse_other_columns(files: Sequence[TableFile], frames: Sequence[pd.DataFrame]) -> None:
    first = frames[0].columns
    for file, frame in zip(files[1:], frames[1:], strict=True):
        missing, more = first.difference(frame.columns, sort=False), frame.columns.difference(first, sort=False)
        if len(missing) or len(more):
            found = f"no column '{missing[0]}' in {file.path}" if len(missing) else f"'{more[0]}' too in {file.path}"
            raise InputError(
                PLACE,
                expected=f"the columns of {files[0].path} in every file",
                found=found,
                remedy="Write the files alike, or name those that belong together in `data.source`.",
            )


def _refuse_other_types(files: Sequence[TableFile], frames: Sequence[pd.DataFrame]) -> None:
    for column in frames[0].columns:
        kinds = [_kind(frame[column]) for frame in frames]
        known = [(kind, file) for kind, file in zip(kinds, files, strict=True) if kind != "nothing"]
        other = next(((kind, file) for kind, file in known if kind != known[0][0]), None)
        if other is not None:
            raise InputError(
                PLACE,
                expected=f"values of one type in column '{column}'",
                found=f"{known[0][0]} in {known[0][1].path} and {other[0]} in {other[1].path}",
                remedy="Write the files alike.",
            )


def _kind(column: Any) -> str:
    import pandas as pd

    types = pd.api.types
    if not column.notna().any():
        return "nothing"
    if types.is_bool_dtype(column.dtype):
        return "booleans"
    if types.is_numeric_dtype(column.dtype):
        return "numbers"
    return "times" if types.is_datetime64_any_dtype(column.dtype) else "other values"


def joined(files: Sequence[TableFile], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows, with a column for each `column=value` in the files' folders."""
    import pandas as pd

    parts = [frame.assign(**dict(file.partition)) for file, frame in zip(files, frames, strict=True)]
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    for name in {name for file in files for name, _ in file.partition}:
        values = frame[name].replace(NO_PARTITION, None)
        whole = values.dropna().astype(str).str.fullmatch("0|-?[1-9][0-9]{0,17}").all()
        frame[name] = values.astype("Int64") if whole else values
    return frame

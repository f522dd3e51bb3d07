"""Opens raw rows in DuckDB, whatever their number: to be checked, or as the table `raw` of a query.

Parquet files are read where they are. CSV files are first checked and copied to a Parquet file as text, part by part:
which of their texts are numbers or dates is for a schema to say. Other sources are read as for training.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.config.next_command import next_command
from winnow.data.csv_file import csv_parts, decompressed
from winnow.data.sql import is_database
from winnow.data.stage.schema import TableSchema
from winnow.data.stage.violations import ROW, literal, quoted, type_columns, types_of
from winnow.data.table_files import PLACE, TableFile, list_files, opened
from winnow.data.tables import read_table

RAW_PLACE = "data.raw.source"
MEMORY_MIB = 512
PART_ROWS = 50_000
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


@contextmanager
def open_rows(config: DataConfig, raw: Sequence[Path] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view `given`: the columns, and `winnow row`, while the context is open.

    Args:
        config: says where the rows are, and how CSV files are read.
        raw: Parquet files to read instead, such as those that were ingested.

    Raises:
        InputError: the source names no table, or one that cannot be read or has no rows.
    """
    place = RAW_PLACE if raw else PLACE
    with tempfile.TemporaryDirectory(prefix="winnow-rows-") as folder:
        files = [str(each) for each in raw] or _as_parquet(config, Path(folder))
        connection = _connected(Path(folder), str(Path(folder) / "rows.duckdb"))
        try:
            connection.execute(
                f"CREATE VIEW given AS SELECT row_number() OVER () AS {quoted(ROW)}, * "
                f"FROM read_parquet([{', '.join(map(literal, files))}], union_by_name = true)"
            )
            refuse_names_of_another_case(files[0], place)
            if not connection.execute("SELECT 1 FROM given LIMIT 1").fetchall():
                remedy = "Correct the source; nothing was checked."
                raise InputError(place, expected="at least one row", found="none", remedy=remedy)
            yield connection
        except duckdb.Error as error:
            raise _unreadable(error, place, files[0]) from error
        finally:
            connection.close()


@contextmanager
def open_raw(
    files: Sequence[Path], schema: TableSchema, missing: Collection[str], folder: Path, temporary: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view `raw`, while the context is open. It reaches no files but these and the folder's.

    Args:
        files: the Parquet files of a raw version.
        missing: texts that stand for a missing value besides the usual ones.
        folder: where results may be written.
        temporary: an existing folder for what does not fit into memory.
    """
    connection = _connected(temporary, preserve_insertion_order=False, python_enable_replacements=False)
    try:
        names = ", ".join(literal(str(file)) for file in files)
        connection.execute(
            f"CREATE TEMP VIEW given AS SELECT * FROM read_parquet([{names}], hive_partitioning = false)"
        )
        type_columns(connection, schema, missing)
        columns = [
            f"{canonical(name, kind, has_wide_decimals=False) or quoted(name)} AS {quoted(name)}"
            for name, kind in types_of(connection, "typed").items()
        ]
        connection.execute(f"CREATE TEMP VIEW raw AS SELECT {', '.join(columns)} FROM typed")
        places = ", ".join(literal(str(each)) for each in {folder, temporary, *(file.parent for file in files)})
        connection.execute(f"SET allowed_directories = [{places}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def canonical(name: str, kind: str, *, has_wide_decimals: bool = True) -> str | None:
    """A column in its canonical type, in DuckDB's SQL; None for a kind of value that no training table has.

    Engines with types of their own then agree on rows. Whole numbers become int64 (an error where one does not fit),
    floats float64 without NaN and -0.0, times timestamp[us] in UTC without a zone, texts strings, and decimals
    decimal(38, S).

    Args:
        kind: DuckDB's type.
        has_wide_decimals: whether decimals get 38 digits; otherwise they stay as they are.
    """
    column = quoted(name)
    if kind in _WHOLE or kind.removeprefix("U") in _WHOLE:
        return f"CAST({column} AS BIGINT)"
    if kind in ("DOUBLE", "FLOAT"):
        return f"CASE WHEN isnan({column}) THEN NULL ELSE CAST({column} AS DOUBLE) + 0.0 END"
    if kind.startswith("DECIMAL"):
        scale = kind.rstrip(")").rpartition(",")[2]
        return f"CAST({column} AS DECIMAL(38,{scale}))" if has_wide_decimals else column
    if kind.startswith("TIMESTAMP"):
        return f"CAST({column} AS TIMESTAMP)"
    if kind.startswith("ENUM") or kind == "UUID":
        return f"CAST({column} AS VARCHAR)"
    return column if kind in ("VARCHAR", "BOOLEAN", "DATE") else None


def refuse_names_of_another_case(file: str | Path, place: str) -> None:
    """Refuse columns whose names differ only in capitals: SQL has no such difference, and DuckDB renames them.

    Raises:
        InputError: there are such columns, or the file is no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(file).names
    except pa.ArrowException as error:
        raise _unreadable(error, place, file) from error
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            expected = "names of columns that differ in more than capitals"
            raise InputError(place, expected=expected, found=f"'{other}' and '{name}'", remedy="Rename one of them.")


def _connected(temporary: Path, database: str = ":memory:", **config: bool) -> duckdb.DuckDBPyConnection:
    """A connection to DuckDB that takes no more memory than allowed, and writes the rest to a folder."""
    settings = {"memory_limit": f"{MEMORY_MIB}MB", "temp_directory": str(temporary), "TimeZone": "UTC"}
    return duckdb.connect(database, config={**settings, "autoinstall_known_extensions": False, **config})


def _unreadable(error: Exception, place: str, file: str | Path) -> InputError:
    expected, found = "rows that can be read", f"'{str(error).splitlines()[0]}'"
    remedy = "Write the files again, all with the same types."
    if place == RAW_PLACE:
        remedy = f"Remove the folder {Path(file).parent}, and copy them again: `{next_command('ingest')}`."
    return InputError(place, expected=expected, found=found, remedy=remedy)


def _as_parquet(config: DataConfig, folder: Path) -> list[str]:
    """The Parquet files of the source, or one in the folder with its rows."""
    source = config.sources[0]
    if config.function is not None or source.startswith(("sklearn:", "images:")) or source.endswith((".npy", ".npz")):
        raise InputError(
            PLACE,
            expected="files or a database whose rows have a schema",
            found=f"'{config.shown_source}'",
            remedy="Name the files that it reads, or check the rows in your data function.",
        )
    copied = folder / "rows.parquet"
    if not is_database(source) and config.query is None:
        files = list_files(config.sources, config.read.format)
        kind = files[0].format if config.read.format == "auto" else config.read.format
        if kind == "csv":
            _copy_csv(files, config, copied)
            return [str(copied)]
        if kind == "parquet" and not any("://" in file.path or file.compression for file in files):
            for file in files:
                with opened(file):
                    pass  # one error for a file that is not there
            return [str(Path(file.path).expanduser()) for file in files]
    read_table(config).frame.to_parquet(copied)
    return [str(copied)]


class _EveryColumn:
    """Names all columns."""

    def __contains__(self, name: object) -> bool:
        return True


def _copy_csv(files: Sequence[TableFile], config: DataConfig, copied: Path) -> None:
    """Copy the rows as text, in the order of the files; only an empty field and `data.read.missing` are missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema: Any = None
    with contextlib.ExitStack() as stack:
        for file, frame in _csv_frames(files, config):
            names = [*map(str, frame.columns), *(name for name, _ in file.partition)]
            if schema is None:
                schema = pa.schema([(name, pa.string()) for name in names])
                writer = stack.enter_context(pq.ParquetWriter(copied, schema))
            elif set(names) != set(schema.names):
                other = min(set(names) ^ set(schema.names))
                remedy = "Write the files alike, or name those that belong together in `data.source`."
                expected = f"the columns of {files[0].path} in every file"
                raise InputError(PLACE, expected=expected, found=f"'{other}' in one of {file.path}", remedy=remedy)
            whole = frame.assign(**dict(file.partition))[schema.names].astype("string")
            writer.write_table(pa.Table.from_pandas(whole, schema=schema, preserve_index=False))
    if schema is None:
        raise InputError(PLACE, expected="at least one row", found="none", remedy="Correct the source.")


def _csv_frames(files: Sequence[TableFile], config: DataConfig) -> Iterator[tuple[TableFile, Any]]:
    every = _EveryColumn()
    for file in files:
        with opened(file) as stream, decompressed(stream, file.compression) as content:
            for frame in csv_parts(content, file.name, config.read, every, every, PART_ROWS):
                yield file, frame

"""Opens the raw rows of a table for DuckDB, numbered from 1, whatever their number.

Parquet files are read where they are. CSV files are first checked and copied to a Parquet file as text, part by part:
which of their texts are numbers or dates is for a schema to say. Other sources are read as for training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.config.next_command import next_command
from winnow.data.csv_file import csv_parts, decompressed
from winnow.data.sql import is_database
from winnow.data.stage.violations import ROW, literal, quoted
from winnow.data.table_files import PLACE, TableFile, list_files, opened
from winnow.data.tables import read_table

RAW_PLACE = "data.raw.source"
MEMORY_LIMIT = "512MB"
PART_ROWS = 50_000


class _EveryColumn:
    """Names all columns."""

    def __contains__(self, name: object) -> bool:
        return True


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
        connection = duckdb.connect(
            str(Path(folder) / "rows.duckdb"),
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": folder,
                "TimeZone": "UTC",
                "autoinstall_known_extensions": False,
            },
        )
        try:
            names = "[" + ", ".join(map(literal, files)) + "]"
            connection.execute(
                f"CREATE VIEW given AS SELECT row_number() OVER () AS {quoted(ROW)}, * "
                f"FROM read_parquet({names}, union_by_name = true)"
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
    if is_database(source) or config.query is not None:
        read_table(config).frame.to_parquet(copied)
        return [str(copied)]
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


def _copy_csv(files: Sequence[TableFile], config: DataConfig, copied: Path) -> None:
    """Copy the rows as text, in the order of the files; only an empty field and `data.read.missing` are missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, writer, every = None, None, _EveryColumn()
    try:
        for file, frame in _csv_frames(files, config, every):
            names = [*map(str, frame.columns), *(name for name, _ in file.partition)]
            if schema is None:
                schema = pa.schema([(name, pa.string()) for name in names])
                writer = pq.ParquetWriter(copied, schema)
            elif set(names) != set(schema.names):
                other = sorted(set(names) ^ set(schema.names))[0]
                remedy = "Write the files alike, or name those that belong together in `data.source`."
                expected = f"the columns of {files[0].path} in every file"
                raise InputError(PLACE, expected=expected, found=f"'{other}' in one of {file.path}", remedy=remedy)
            assert writer is not None
            whole = frame.assign(**dict(file.partition))[schema.names].astype("string")
            writer.write_table(pa.Table.from_pandas(whole, schema=schema, preserve_index=False))
    finally:
        if writer is not None:
            writer.close()
    if schema is None:
        raise InputError(PLACE, expected="at least one row", found="none", remedy="Correct the source.")


def _csv_frames(files: Sequence[TableFile], config: DataConfig, every: Any) -> Iterator[tuple[TableFile, Any]]:
    for file in files:
        with opened(file) as stream, decompressed(stream, file.compression) as content:
            for frame in csv_parts(content, file.name, config.read, every, every, PART_ROWS):
                yield file, frame

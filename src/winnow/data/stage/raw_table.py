"""The table `raw` of a query: ingested rows in the types of their schema, in DuckDB, which turns texts into types."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from winnow.data.stage.canonical import canonical
from winnow.data.stage.schema import TableSchema
from winnow.data.stage.violations import literal, quoted, type_columns, types_of

MEMORY_MIB = 512


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
    connection = duckdb.connect(
        config={
            "memory_limit": f"{MEMORY_MIB}MB",
            "temp_directory": str(temporary),
            "TimeZone": "UTC",
            "autoinstall_known_extensions": False,
            "preserve_insertion_order": False,
            "python_enable_replacements": False,
        }
    )
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

"""Write the result of an engine as the files of a version: in canonical types, in one order, with a digest.

An engine leaves rows in any order and in types of its own. DuckDB casts and sorts them, on disk beyond its memory
limit.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import duckdb

from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.data.stage.engines.duckdb_engine import wrong_query
from winnow.data.stage.row_digest import digest_of_rows, read_ahead
from winnow.data.stage.rows import canonical
from winnow.data.stage.versions import RawColumn, Rows
from winnow.data.stage.violations import literal, quoted, types_of
from winnow.data.table_files import HIDDEN
from winnow.data.tables import NO_PARTITION

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "part-00000.parquet"
SHOWN = 3
MOST_PARTITIONS = 10_000


def write_sorted(
    connection: duckdb.DuckDBPyConnection,
    file: Path,
    sort: Sequence[str],
    partition_by: Sequence[str],
    place: str,
    *,
    unsorted: Path | None = None,
) -> Rows:
    """Write the view `result` to a Parquet file.

    Args:
        unsorted: a file for the rows before they are sorted, for a result that is many times larger than DuckDB's
            memory limit: the windows of a query fit into it, and so does the sort, but both together do not.
        sort: columns whose values no two rows of a partition share; all columns order the rows where there are none.

    Raises:
        InputError: the result cannot be computed, has no rows, a column of a type that no table for training has, or a
            key that repeats; or a column of the order or the partitions is not there.
    """
    import pyarrow.parquet as pq

    kinds = types_of(connection, "result")
    _check_columns(kinds, sort, partition_by)
    found = {name: canonical(name, kind) for name, kind in kinds.items()}
    other = next((name for name, column in found.items() if column is None), None)
    if other is not None:
        raise InputError(
            place,
            expected=f"numbers, texts, booleans, dates or times in column '{other}'",
            found=f"values of DuckDB's type {kinds[other]}",
            remedy="Cast the column, or leave it out.",
        )
    columns = [f"{column} AS {quoted(name)}" for name, column in found.items()]
    keys = list(dict.fromkeys((*partition_by, *(sort or kinds))))
    order = ", ".join(f"{quoted(name)} NULLS LAST" for name in keys)
    rows = f"(SELECT {', '.join(columns)} FROM result)"
    try:
        if unsorted is not None:
            connection.execute(f"COPY {rows} TO {literal(str(unsorted))} (FORMAT parquet)")
            rows = f"read_parquet({literal(str(unsorted))})"
        connection.execute(f"COPY (SELECT * FROM {rows} ORDER BY {order}) TO {literal(str(file))} (FORMAT parquet)")
    except duckdb.Error as error:
        raise wrong_query(error, place) from error
    with pq.ParquetFile(file) as written:
        batches: Iterable[pa.RecordBatch] = read_ahead(written.iter_batches())
        if sort:
            batches = _without_repeats(batches, keys)
        schema = written.schema_arrow
        digest, count = digest_of_rows(schema, batches)
    if not count:
        raise InputError(place, expected="at least one row", found="none", remedy="Correct the query or the raw data.")
    return Rows(digest, count, tuple(RawColumn(field.name, str(field.type)) for field in schema))


def split_rows(file: Path, partition_by: Sequence[str]) -> tuple[str, ...]:
    """Split a file that is sorted by some columns into folders `NAME=VALUE` beside it; remove it, and name the others.

    Raises:
        InputError: there are more than 10,000 partitions.
    """
    import pyarrow.parquet as pq

    made: list[str] = []
    writer: Any = None
    with pq.ParquetFile(file) as whole:
        for batch in whole.iter_batches():
            for folder, part in _partitions(batch, partition_by):
                name = f"{folder}/{FILE}"
                if not made or made[-1] != name:
                    if writer is not None:
                        writer.close()
                    if len(made) == MOST_PARTITIONS:
                        expected = f"columns that split the rows into at most {MOST_PARTITIONS:,} folders"
                        remedy, place = "Choose columns with fewer values.", "data.prepare.partition_by"
                        raise InputError(place, expected=expected, found="more values", remedy=remedy)
                    made.append(name)
                    (file.parent / folder).mkdir(parents=True)
                    writer = pq.ParquetWriter(file.parent / name, part.schema)
                writer.write_batch(part)
    writer.close()
    file.unlink()
    return tuple(made)


def _check_columns(kinds: Iterable[str], sort: Sequence[str], partition_by: Sequence[str]) -> None:
    names = list(kinds)
    for key, columns in (("sort", sort), ("partition_by", partition_by)):
        for name in columns:
            if name not in names:
                remedy = did_you_mean(name, names) or f"It has {', '.join(names)}."
                expected = "columns of the result"
                raise InputError(f"data.prepare.{key}", expected=expected, found=f"'{name}'", remedy=remedy)
    wrong = next((name for name in partition_by if name.startswith(HIDDEN) or {"=", "/"} & {*name}), None)
    if wrong is not None:
        expected, remedy = "names that folders can have", "Rename the column in the query."
        raise InputError("data.prepare.partition_by", expected=expected, found=f"'{wrong}'", remedy=remedy)
    if partition_by and set(names) == set(partition_by):
        expected, remedy = "columns beside those that split the rows", "Name fewer columns."
        raise InputError("data.prepare.partition_by", expected=expected, found="none", remedy=remedy)


def _without_repeats(batches: Iterable[pa.RecordBatch], keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The batches of sorted rows. Raises InputError where a row has the keys of the one before it."""
    import pyarrow as pa

    last: pa.Table | None = None
    repeated: list[str] = []
    for batch in batches:
        table = pa.Table.from_batches([batch.select(keys)])
        joined = table if last is None else pa.concat_tables([last, table])
        repeated += _repeated(joined.combine_chunks())
        if len(repeated) >= SHOWN:
            break
        last = table.slice(len(table) - 1)
        yield batch
    if repeated:
        shown = "; ".join(dict.fromkeys(repeated).keys())
        raise InputError(
            "data.prepare.sort",
            expected=f"columns that no two rows share, in {', '.join(keys)}",
            found=f"several rows with {shown}",
            remedy="Name more columns, or make the query's rows unique; without `sort`, all columns order them.",
        )


def _repeated(keys: pa.Table) -> list[str]:
    """The first keys that equal those of the row before, as texts."""
    found = keys.slice(1).filter(_is_same(keys)).slice(0, SHOWN).to_pylist()
    return [", ".join(f"{name} = {value}" for name, value in row.items()) for row in found]


def _is_same(keys: pa.Table) -> Any:
    """Of each row but the first, whether it equals the one before; missing values are equal."""
    import pyarrow as pa
    import pyarrow.compute as pc

    same: Any = pa.array([True] * (len(keys) - 1), pa.bool_())
    for column in keys.columns:
        one, other = column.slice(1), column.slice(0, len(column) - 1)
        equal = pc.fill_null(pc.equal(one, other), False)
        same = pc.and_(same, pc.or_(equal, pc.and_(pc.is_null(one), pc.is_null(other))))
    return same


def _partitions(batch: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The runs of rows with equal values of these columns: the folder of each, and the rows without the columns."""
    import numpy as np
    import pyarrow as pa

    keys = pa.Table.from_batches([batch.select(columns)])
    rest = batch.select([name for name in batch.schema.names if name not in columns])
    changes = np.flatnonzero(~_is_same(keys).to_numpy(zero_copy_only=False)) + 1
    for start, end in itertools.pairwise([0, *changes.tolist(), len(keys)]):
        row = keys.slice(start, 1).to_pylist()[0]
        yield "/".join(f"{name}={_shown(value)}" for name, value in row.items()), rest.slice(start, end - start)


def _shown(value: Any) -> str:
    return NO_PARTITION if value is None else quote(str(value), safe=" ")

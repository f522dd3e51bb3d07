"""The Parquet parts of a version: written from batches, and given one schema."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.atomic_write import replacing
from winnow.config.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.data.stage.versions import Ingested

PLACE = "data.source"


def write_parts(batches: Iterable[pa.RecordBatch], folder: Path, first: int, shown: str) -> list[tuple[str, int]]:
    """Write a source's rows; a part ends where a batch has types that its schema cannot hold.

    Args:
        first: number of the first part.

    Returns:
        Name and number of rows of each part.

    Raises:
        InputError: a column has values without a common type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    made: list[tuple[str, int]] = []
    writer: Any = None
    try:
        for batch in batches:
            schema = batch.schema if writer is None else common_schema(writer.schema, batch.schema, shown)
            if writer is None or schema != writer.schema:
                if writer is not None:
                    writer.close()
                    if not made[-1][1]:
                        made.pop()  # without rows; the next part replaces it
                name = f"part-{first + len(made):05d}.parquet"
                made.append((name, 0))
                writer = pq.ParquetWriter(folder / name, schema, write_statistics=False)
            if batch.num_rows:
                writer.write_table(_cast(pa.Table.from_batches([batch]), writer.schema, shown))
                made[-1] = (made[-1][0], made[-1][1] + batch.num_rows)
    finally:
        if writer is not None:
            writer.close()
    return made


def link_part(part: Path, target: Path) -> None:
    """Give a part of an older version another name; copy it where the file system has no hard links."""
    try:
        os.link(part, target)
    except OSError:
        shutil.copyfile(part, target)


def give_one_schema(parts: Sequence[tuple[Path, str]]) -> pa.Schema:
    """Rewrite the parts whose columns have another order or narrower types, and return the schema of all.

    Args:
        parts: file and source of each.

    Raises:
        InputError: they differ in their columns, or a column has values without a common type.
    """
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(path) for path, _ in parts]
    schema = schemas[0]
    for (_, shown), each in zip(parts[1:], schemas[1:], strict=True):
        schema = common_schema(schema, each, shown, parts[0][1])
    for (path, shown), each in zip(parts, schemas, strict=True):
        if each != schema:
            with replacing(path) as draft, pq.ParquetWriter(draft, schema) as writer:
                for table in read_tables(path):
                    writer.write_table(_cast(table, schema, shown))
    return schema


def read_tables(path: Path) -> Iterator[pa.Table]:
    """The rows of a part, a batch at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield pa.Table.from_batches([batch])


def common_schema(first: pa.Schema, other: pa.Schema, shown: str, others: str = "") -> pa.Schema:
    """The columns of the first in their order, with types that hold the values of both.

    Raises:
        InputError: the columns differ, or a column has no such type.
    """
    import pyarrow as pa

    if first == other:
        return first
    others = others if others not in ("", shown) else "the rows before"
    missing, more = set(first.names) - set(other.names), set(other.names) - set(first.names)
    if missing or more:
        raise InputError(
            PLACE,
            expected=f"the columns of {others}",
            found=f"no column '{min(missing)}' in {shown}" if missing else f"'{min(more)}' too in {shown}",
            remedy="Write them alike, or name those that belong together.",
        )
    fields = []
    for field in first:
        schemas = [pa.schema([pa.field(field.name, kind)]) for kind in (field.type, other.field(field.name).type)]
        try:
            fields += pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(
                PLACE,
                expected=f"values of one type in column '{field.name}'",
                found=f"{schemas[1].field(0).type} in {shown} and {schemas[0].field(0).type} in {others}",
                remedy="Write them alike; of a database, name the type in the query: CAST(… AS …).",
            ) from error
    return pa.schema(fields)


def _cast(table: pa.Table, schema: pa.Schema, shown: str) -> pa.Table:
    import pyarrow as pa

    try:
        return table.select(schema.names).cast(schema)
    except pa.ArrowException as error:
        raise InputError(
            PLACE,
            expected="values that fit the type of the other rows' columns",
            found=f"'{str(error).splitlines()[0]}' in {shown}",
            remedy="Write them alike.",
        ) from error


def all_rows_are_there(version: Path, ingested: Ingested) -> bool:
    """Whether each part of a version has its rows, as its footer says: a part may have been cut off since."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return all(pq.read_metadata(version / part.file).num_rows == part.rows for part in ingested.parts)
    except (OSError, pa.ArrowInvalid):
        return False

"""Raw files as batches of rows, in bounded memory. Types are those of the file; all columns of a CSV file are text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from winnow.config.errors import InputError
from winnow.data.columnar import record_batches
from winnow.data.csv_file import decompressed
from winnow.data.refusals import refuse_double_names
from winnow.data.stage.csv_rows import csv_batches
from winnow.data.table_files import PLACE, TableFile, opened
from winnow.data.tables import NO_PARTITION

if TYPE_CHECKING:
    import pyarrow as pa

    from winnow.config.experiment import RawReadConfig


def read_batches(file: TableFile, read: RawReadConfig, shown: str) -> Iterator[pa.RecordBatch]:
    """The rows of a file on this machine; at least one batch, perhaps an empty one.

    Raises:
        InputError: it cannot be read, has two columns of one name, or a column of a type that Parquet parts do not get.
    """
    import pyarrow as pa

    kind = read.format if read.format != "auto" else file.format
    with opened(file) as stream, decompressed(stream, file.compression) as content:
        schema: pa.Schema | None = None
        if kind == "csv":
            batches = csv_batches(content, shown, read)
        else:
            found, rows = record_batches(content, kind)
            batches = itertools.chain([_empty(found)], rows)
        for batch in batches:
            if schema is None:
                refuse_double_names([*batch.schema.names, *(name for name, _ in file.partition)], shown)
                schema = pa.schema([pa.field(each.name, _plain(each, shown)) for each in batch.schema])
            table = pa.Table.from_batches([batch]).replace_schema_metadata(None).cast(schema)
            for name, value in file.partition:
                text = None if value == NO_PARTITION else value
                table = table.append_column(name, pa.array([text] * len(table), pa.string()))
            yield table.combine_chunks().to_batches()[0] if len(table) else _empty(table.schema)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], each.type) for each in schema], schema=schema)


def _plain(field: Any, shown: str) -> Any:
    """The type of a part's column: the values of a dictionary, and one type for texts of any size."""
    import pyarrow as pa

    kind, types = field.type, pa.types
    if types.is_dictionary(kind):
        return _plain(pa.field(field.name, kind.value_type), shown)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(_plain(pa.field(field.name, kind.value_type), shown))
    if types.is_struct(kind):
        return pa.struct([(each.name, _plain(each, shown)) for each in kind])
    is_fixed = types.is_primitive(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind)
    if is_fixed or types.is_null(kind) or types.is_string(kind) or types.is_binary(kind):
        return kind
    raise InputError(
        PLACE,
        expected=f"numbers, text, booleans, times, lists or structs in column '{field.name}' of {shown}",
        found=f"the type {kind}",
        remedy="Convert the column, or write the file without it.",
    )

"""Parquet and Arrow (Feather) files as DataFrames, or in batches of rows; columns have the types of the file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from winnow.data.refusals import refuse_double_names

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def read_parquet(stream: IO[bytes], name: str) -> pd.DataFrame:
    """The file as a frame; a named index becomes a column."""
    import pandas as pd
    import pyarrow.parquet as pq

    refuse_double_names(pq.ParquetFile(stream).schema_arrow.names, name)
    return _with_index(pd.read_parquet(stream, dtype_backend="numpy_nullable"), name)


def read_arrow(stream: IO[bytes], name: str) -> pd.DataFrame:
    """The file as a frame: Arrow's IPC format (Feather 2), as a file or as a stream."""
    import pandas as pd
    import pyarrow as pa

    is_file = _is_file(stream)
    schema, batches = record_batches(stream, "arrow")
    refuse_double_names(schema.names, name)
    if not is_file:  # pandas reads no streams, and a file has one dictionary for each column of categories
        table = pa.Table.from_batches(batches, schema).unify_dictionaries()
        stream = io.BytesIO()
        with pa.ipc.new_file(stream, schema) as writer:
            writer.write_table(table)
    stream.seek(0)
    return _with_index(pd.read_feather(stream, dtype_backend="numpy_nullable"), name)


def record_batches(
    stream: IO[bytes], kind: str | None, at_once: int = 2**16
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns of a file, and its rows: at most so many at a time of Parquet, and as they are written of Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        parquet = pq.ParquetFile(stream)
        return parquet.schema_arrow, parquet.iter_batches(batch_size=at_once)
    if not _is_file(stream):
        opened = pa.ipc.open_stream(stream)
        return opened.schema, iter(opened)
    opened = pa.ipc.open_file(stream)
    return opened.schema, (opened.get_batch(index) for index in range(opened.num_record_batches))


def _is_file(stream: IO[bytes]) -> bool:
    """Whether these are the bytes of an Arrow file, and not of a stream."""
    start = stream.read(6)
    stream.seek(0)
    return start == b"ARROW1"


def _with_index(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    named = [index for index in frame.index.names if index is not None]
    frame = frame.reset_index(drop=not named).rename(columns=str)
    refuse_double_names(frame.columns, name)
    return frame

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

    schema, batches = record_batches(stream, "arrow")
    refuse_double_names(schema.names, name)
    file = io.BytesIO()  # pandas reads no streams
    with pa.ipc.new_file(file, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    file.seek(0)
    return _with_index(pd.read_feather(file, dtype_backend="numpy_nullable"), name)


def record_batches(
    stream: IO[bytes], kind: str | None, at_once: int = 2**16
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The columns of a file, and its rows: at most so many at a time of Parquet, and as they are written of Arrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        parquet = pq.ParquetFile(stream)
        return parquet.schema_arrow, parquet.iter_batches(batch_size=at_once)
    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    if not is_file:
        opened = pa.ipc.open_stream(stream)
        return opened.schema, iter(opened)
    opened = pa.ipc.open_file(stream)
    return opened.schema, (opened.get_batch(index) for index in range(opened.num_record_batches))


def _with_index(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    named = [index for index in frame.index.names if index is not None]
    frame = frame.reset_index(drop=not named).rename(columns=str)
    refuse_double_names(frame.columns, name)
    return frame

"""Parquet and Arrow (Feather) files as DataFrames; columns have the types of the file."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

from winnow.data.names import refuse_double_names

if TYPE_CHECKING:
    import pandas as pd


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

    content = stream.read()
    if not content.startswith(b"ARROW1"):
        table = pa.ipc.open_stream(content).read_all()
        refuse_double_names(table.schema.names, name)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        content = sink.getvalue().to_pybytes()
    else:
        refuse_double_names(pa.ipc.open_file(content).schema.names, name)
    return _with_index(pd.read_feather(io.BytesIO(content), dtype_backend="numpy_nullable"), name)


def _with_index(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    named = [index for index in frame.index.names if index is not None]
    frame = frame.reset_index(drop=not named).rename(columns=str)
    refuse_double_names(frame.columns, name)
    return frame

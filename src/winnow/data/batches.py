"""Rows of files in batches, so that files of any size can be scored. Columns have the types of the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import IO, TYPE_CHECKING

from winnow.config.experiment import ReadConfig
from winnow.data.columnar import record_batches
from winnow.data.csv_file import csv_parts, decompressed
from winnow.data.refusals import refuse_double_names
from winnow.data.table_files import TableFile, list_files, opened
from winnow.data.tables import joined

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 65_536


def batches_of(
    source: str, texts: Collection[str], labels: Collection[str], read: ReadConfig, at_once: int = AT_ONCE
) -> Iterator[pd.DataFrame]:
    """The rows of a file, folder or pattern, in order, at most `at_once` at a time.

    Args:
        texts: columns of CSV files to read as text.
        labels: columns of CSV files to read as text in which only an empty field is missing.

    Raises:
        InputError: a file is missing, unreadable, or of an unknown format.
    """
    for file in list_files([source], read.format):
        kind = read.format if read.format != "auto" else file.format
        with opened(file) as stream:
            if kind == "csv":
                with decompressed(stream, file.compression) as content:
                    for part in csv_parts(content, file.name, read, texts, labels, at_once):
                        yield joined([file], [part])
            else:
                for part in _of_arrow(stream, kind, file, at_once):
                    yield joined([file], [part])


def _of_arrow(stream: IO[bytes], kind: str | None, file: TableFile, at_once: int) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import pyarrow as pa

    # Whole numbers and booleans beside missing values stay what they are.
    kinds = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    schema, batches = record_batches(stream, kind, at_once)
    refuse_double_names(schema.names, file.name)
    for batch in batches:
        for start in range(0, batch.num_rows, at_once):
            frame = batch.slice(start, at_once).to_pandas(types_mapper=kinds.get)
            yield frame.reset_index(drop=all(name is None for name in frame.index.names)).rename(columns=str)

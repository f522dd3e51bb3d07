"""The digest of the rows of a table that comes in batches, whatever their sizes, while others compute the next ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class RowDigest:
    """The digest of rows that pass by.

    Each column has a running hash for its nulls, lengths and values, so that a batch may end anywhere.

    Attributes:
        rows: how many have passed.
        schemas: those of their batches.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.schemas: list[pa.Schema] = []
        self._hashes: dict[str, Any] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Let the next rows pass."""
        self.rows += batch.num_rows
        if batch.schema not in self.schemas:
            self.schemas.append(batch.schema)
        for index, column in enumerate(batch.columns):
            for path, content in _contents(column, str(index)):
                self._hashes.setdefault(path, hashlib.sha256()).update(content)

    def hexdigest(self, schema: pa.Schema) -> str:
        """The sha256 of names, types and rows in their order."""
        columns = [(field.name, str(field.type)) for field in schema]
        found = {path: each.hexdigest() for path, each in sorted(self._hashes.items())}
        return hashlib.sha256(json.dumps([columns, self.rows, found]).encode()).hexdigest()


def digest_of_rows(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> tuple[str, int]:
    """The sha256 of names, types and rows in their order, and how many rows these are."""
    digest = RowDigest()
    for batch in read_ahead(batches):
        digest.add(batch)
    return digest.hexdigest(schema), digest.rows


def read_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, none of which is None; a thread computes the next one while the one before is used.

    An exception is raised in its place, and the thread ends with the iterator.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "winnow-read-ahead") as thread:
        coming = thread.submit(next, iterator, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, iterator, None)
            yield item


def _contents(array: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What identifies the values of an array, as bytes that may be joined with those of the next one."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    yield f"{path}.valid", array.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)
    present, kind = array.drop_null(), array.type
    if not len(present):
        return
    if pa.types.is_struct(kind):
        for index, child in enumerate(present.flatten()):
            yield from _contents(child, f"{path}.{index}")
    elif pa.types.is_list(kind):
        yield f"{path}.length", pc.list_value_length(present).to_numpy(zero_copy_only=False)
        yield from _contents(present.flatten(), f"{path}.0")
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        yield f"{path}.length", pc.binary_length(present).to_numpy(zero_copy_only=False)
        _, ends, values = present.buffers()
        offsets = np.frombuffer(ends, np.int32)[present.offset : present.offset + len(present) + 1]
        if values is not None:
            yield f"{path}.value", values[int(offsets[0]) : int(offsets[-1])]
    else:
        fixed = present.cast(pa.uint8()) if pa.types.is_boolean(kind) else present
        width = fixed.type.bit_width // 8
        yield f"{path}.value", fixed.buffers()[1][fixed.offset * width : (fixed.offset + len(fixed)) * width]

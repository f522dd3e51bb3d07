"""The digest of a data set's content: the same rows give the same one, whatever format, type or machine they came from.

It covers what training sees (features, target, groups, time, names, in order) and not what the data is called.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "1"


def digest_of(names: dict[str, tuple[str, ...] | None], arrays: dict[str, NDArray[Any] | None]) -> str:
    """sha256, in hex, of names and arrays; the order of the dictionaries' keys counts."""
    digest = hashlib.sha256(VERSION.encode())
    digest.update(json.dumps(names, ensure_ascii=True).encode())
    for name, array in arrays.items():
        digest.update(f"\n{name}:{_header(array)}\n".encode())
        if array is not None:
            digest.update(_content(array))
    return digest.hexdigest()


def _header(array: NDArray[Any] | None) -> str:
    return "none" if array is None else f"{array.dtype.kind}{list(array.shape)}"


def _content(array: NDArray[Any]) -> bytes | memoryview[int]:
    """Little-endian bytes; text as JSON, since its width in memory depends on the longest one."""
    if array.dtype.kind == "U":
        return json.dumps(array.tolist(), ensure_ascii=True).encode()
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(np.int64)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array + 0.0)  # one NaN, and no -0.0
    ordered = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return ordered.tobytes()

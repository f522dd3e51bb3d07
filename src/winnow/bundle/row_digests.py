"""Fingerprints of rows, by which a version's training rows are recognized without keeping them.

A file of them is stored beside a registered model, not in its bundle, so that images do not carry it.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TRAINED_ROWS = "trained_rows.npy"
"""The file's name: sorted digests of the rows that the model was trained on, uint64, in NumPy's own format."""

_CANONICAL_NAN = np.float32(np.nan)


def row_digests(inputs: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A 64-bit BLAKE2b digest of each row of a model's input, uint64 [rows].

    Equal numbers give equal digests: every NaN is the same, and so are 0 and -0. The target is no part of them: a row
    that was trained on with another label is no new row either.

    Args:
        inputs: float32 [rows, *input_shape].
    """
    shape = (len(inputs), math.prod(inputs.shape[1:]))
    rows = np.ascontiguousarray(inputs, dtype="<f4").reshape(shape) + np.float32(0)
    rows[np.isnan(rows)] = _CANONICAL_NAN
    found = b"".join(blake2b(row, digest_size=8).digest() for row in rows)
    return np.frombuffer(found, dtype="<u8").astype(np.uint64)


def write_digests(path: Path, digests: NDArray[np.uint64]) -> None:
    """Write a version's digests, each once."""
    np.save(path, np.unique(digests), allow_pickle=False)


def read_digests(path: Path) -> NDArray[np.uint64]:
    """Read what `write_digests` wrote. Raises ValueError where it is something else."""
    found: NDArray[np.uint64] = np.load(path, allow_pickle=False)
    if found.dtype != np.uint64 or found.ndim != 1:
        raise ValueError(f"{path}: expected uint64 [rows], found {found.dtype} {list(found.shape)}")
    return found


def is_among(digests: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Whether each digest is among `known`, which is sorted; bool [rows]."""
    return np.isin(digests, known)

"""Fingerprints of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from winnow.bundle.row_digests import is_among, read_digests, row_digests, write_digests


def test_equal_rows_have_equal_digests_and_others_have_not() -> None:
    rows = np.array([[1, 2], [1, 2], [2, 1], [0, np.nan], [-0.0, -np.nan]], np.float32)
    found = row_digests(rows)
    assert (found.dtype, len(set(found.tolist()))) == (np.uint64, 3)
    assert (found[0] == found[1], found[3] == found[4]) == (True, True)


def test_rows_of_images_have_digests_too() -> None:
    images = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    assert row_digests(images).tolist() == row_digests(images.reshape(2, -1)).tolist()


def test_written_digests_are_read_again_and_known(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    write_digests(tmp_path / "rows.npy", row_digests(np.concatenate([rows[:40], rows[:40]])))
    known = read_digests(tmp_path / "rows.npy")
    assert len(known) == 40
    assert is_among(row_digests(rows), known).tolist() == [True] * 40 + [False] * 10


def test_another_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(3))
    with pytest.raises(ValueError, match="expected uint64"):
        read_digests(tmp_path / "rows.npy")

"""Cutting a CSV file where rows end, against Python's csv."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from winnow.data.stage.csv_rows import WatchedBytes, row_blocks

TEXTS = st.text(st.sampled_from('ab,"\n é'), max_size=6)


def blocks_of(text: bytes, size: int) -> list[bytes]:
    return list(row_blocks(WatchedBytes(io.BytesIO(text), ","), size))


def rows_of(text: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text.decode(), newline="")))


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=8), st.integers(40, 90), st.booleans())
def test_each_block_holds_whole_rows_and_together_they_are_the_file(
    rows: list[list[str]], size: int, is_ended: bool
) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(rows)
    text = written.getvalue().encode() if is_ended else written.getvalue().encode().removesuffix(b"\n")

    blocks = blocks_of(text, size)

    assert b"".join(blocks) == text
    assert [row for block in blocks for row in rows_of(block)] == rows_of(text)
    assert all(block.endswith(b"\n") for block in blocks[:-1])


def test_a_doubt_ends_the_blocks_before_it() -> None:
    certain = b"a,b\n" * 10
    assert b"".join(blocks_of(certain + b'x"y,z\n' + certain, 20)) == certain


def test_a_row_that_is_longer_than_a_block_ends_them() -> None:
    assert blocks_of(b"a,b\n" + b"c" * 50 + b",d\n", 16) == [b"a,b\n"]

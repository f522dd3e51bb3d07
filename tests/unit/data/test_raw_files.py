"""Raw CSV files give the rows that are in them, and a quick look never accepts what the check of every line refuses."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from winnow.config.errors import InputError
from winnow.config.experiment import RawReadConfig
from winnow.data.csv_file import checked_csv
from winnow.data.stage.csv_rows import WatchedBytes
from winnow.data.stage.raw_files import read_batches
from winnow.data.table_files import TableFile

READ = RawReadConfig(delimiter=",", missing=("?",))
FIELDS = ("a", "é", "", '""', '"a""b"', '"x,y"', '"l\r\nm\n\nn"', "?", '"?"', "NA", " b ", "id", "7")
SCRAPS = ('"', ",", "\n", "\r", "\r\n", "\n\n", " ", "\0", "\ufeff", '" ', 'a"', "id,code\n")

tables = st.lists(st.lists(st.sampled_from(FIELDS), min_size=2, max_size=2).map(",".join), max_size=4)


def rows_of(content: bytes) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        file.write_bytes(content)
        batches = list(read_batches(TableFile(str(file)), READ, "rows.csv"))
    return [row for batch in batches for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


def rows_by_the_csv_module(content: bytes) -> list[Any]:
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    rows = [row for row in csv.reader(text, strict=True) if "".join(row).strip() or len(row) > 1]
    return [tuple(None if field in ("", "?") else field for field in row) for row in rows[1:]]


def is_refused_line_by_line(content: bytes) -> bool:
    try:
        checked_csv(io.BytesIO(content), "rows.csv", READ)
    except InputError:
        return True
    return False


@given(lines=tables, end=st.sampled_from(["\n", "\r\n"]), mark=st.sampled_from(["", "\ufeff"]))
@settings(max_examples=60, deadline=None)
def test_rows_are_those_of_the_csv_module(lines: list[str], end: str, mark: str) -> None:
    content = (mark + end.join(["id,code", *lines]) + end).encode()
    assert rows_of(content) == rows_by_the_csv_module(content)


@given(lines=tables, scrap=st.sampled_from(SCRAPS), data=st.data())
@example(lines=['x"y"z,1'], scrap="", data=None)
@settings(max_examples=150, deadline=None)
def test_a_file_is_refused_where_the_check_of_every_line_refuses_it(lines: list[str], scrap: str, data: Any) -> None:
    text = "id,code\n" + "\n".join(lines)
    place = 0 if data is None else data.draw(st.integers(8, len(text)))
    content = (text[:place] + scrap + text[place:]).encode()
    if is_refused_line_by_line(content):
        with pytest.raises(InputError):
            rows_of(content)
    else:
        assert rows_of(content) == rows_by_the_csv_module(content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"id,code\n1,2\n3\n", "1 field in line 3 for a header of 2"),
        (b"id,code\n1,2\nid,code\n", "the header again in line 3"),
        (b'id,code\n1,"2\n3,4\n', "'unexpected end of data' in the row that ends with line 3"),
        (b'id,code\n1,"2" \n', "'',' expected after '\"'' in the row that ends with line 2"),
        (b"id,code\n1,\0\n", "a NUL byte in line 2"),
        (b"id,code\n1,\xed\xa0\x80\n", "the byte 0xed, which is not UTF-8, near its start"),
        (b"id\n" + b"x" * 140_000, "'field larger than field limit (131072)' in the row that ends with line 2"),
    ],
)
def test_an_error_names_the_line(content: bytes, found: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(content)
    assert caught.value.found == found


@pytest.mark.parametrize(
    ("content", "is_doubtful"),
    [
        (b'a,b\r\n"x, ""y""",""\r\n"l\nm",2', False),
        (b'a"b",c\n', True),
        (b'"a"b,c\n', True),
        (b'"a" ,c\n', True),
        (b'a, "c"\n', True),
        (b'a,"c\n', True),
        (b"a,\0\n", True),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_doubt_does_not_depend_on_the_size_of_blocks(content: bytes, is_doubtful: bool, size: int) -> None:
    watched = WatchedBytes(io.BytesIO(content), ",")
    assert b"".join(iter(lambda: watched.read(size), b"")) == content
    assert watched.is_doubtful == is_doubtful


def test_a_byte_order_mark_leaves_no_doubt() -> None:
    watched = WatchedBytes(io.BytesIO('\ufeff"a","b"\n'.encode()), ",")
    watched.read()
    assert not watched.is_doubtful

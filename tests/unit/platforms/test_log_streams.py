"""Several streams of lines as one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from winnow.platforms.log_streams import merged


def test_all_lines_come_and_those_of_one_stream_in_their_order() -> None:
    streams = [iter([f"{name}{index}" for index in range(100)]) for name in "abc"]
    lines = list(merged(streams))
    assert len(lines) == 300
    for name in "abc":
        assert [line for line in lines if line[0] == name] == [f"{name}{index}" for index in range(100)]


def test_a_line_does_not_wait_for_the_other_streams() -> None:
    gate = threading.Event()

    def slow() -> Iterator[str]:
        gate.wait(10)
        yield "late"

    lines = merged([slow(), iter(["early"])])
    assert next(lines) == "early"
    gate.set()
    assert list(lines) == ["late"]


def test_what_a_stream_raises_is_raised() -> None:
    def broken() -> Iterator[str]:
        yield "one"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(merged([broken(), iter(["two"])]))


def test_no_streams_are_no_lines() -> None:
    assert list(merged([])) == []

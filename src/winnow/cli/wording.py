"""Lists, counts, tables and values as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from winnow.api import Sheet

_Found = TypeVar("_Found")


def either(places: Sequence[str]) -> str:
    """`on this machine, on the Docker engine or in namespace …`."""
    *others, last = places
    return f"{', '.join(others)} or {last}" if others else last


def count(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The same below a line: indented by two."""
    return [f"  {line}" for line in table(rows)]


def sheet_lines(sheets: Iterable[Sheet]) -> Iterator[str]:
    """Titled tables as lines for people."""
    for index, sheet in enumerate(sheets):
        if index:
            yield ""
        yield sheet.title
        yield from (f"  {note}" for note in sheet.notes)
        if sheet.rows:
            yield from aligned([sheet.head, *sheet.rows] if sheet.head else sheet.rows)


def as_text(found: Any) -> str:
    """A value as indented JSON; paths are texts."""
    import msgspec

    def plain(value: Any) -> str:
        if isinstance(value, PurePath):
            return str(value)
        raise TypeError(f"expected a value that JSON has, found {type(value).__name__}")

    return msgspec.json.format(msgspec.json.encode(found, enc_hook=plain)).decode()


def show(found: _Found, as_json: bool, lines: Callable[[_Found], Iterable[str]]) -> None:
    """Print a result: as JSON, or as the lines that `lines` makes of it."""
    click.echo(as_text(found) if as_json else "\n".join(lines(found)))


def utc(at_ms: int | None) -> str | None:
    """A time in ISO 8601, to the second; None if there is none."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def local_time(at_ms: int, seconds: str = "") -> str:
    """A time on this machine's clock, to the minute; with `:%S` to the second."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M{seconds}}"

"""Tables as one HTML page, in the style of a study's report: the experiments, and the story of a version."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from winnow.report.frame import header, page
from winnow.study.experiments import Sheet

_WRAPPED_ABOVE = 32
"""Columns with longer texts, in characters, are wrapped."""


def render_sheets(title: str, sheets: Sequence[Sheet], empty: str = "") -> str:
    """One self-contained HTML page.

    Args:
        empty: what it says where there are no tables.
    """
    sections = "".join(_section(f"sheet-{index}", sheet) for index, sheet in enumerate(sheets))
    empty_section = f'<p class="empty">{escape(empty)}</p>'
    return page(title, f'{header(title)}<main class="grid">{sections or empty_section}</main>')


def _section(name: str, sheet: Sheet) -> str:
    kind = " class=alarm" if sheet.is_alarm else ""
    notes = "".join(f"<p{kind}>{escape(each)}</p>" for each in sheet.notes)
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in sheet.head)
    is_long = [max(map(len, column)) > _WRAPPED_ABOVE for column in zip(*sheet.rows, strict=True)]
    above = f"<thead><tr>{head}</tr></thead>" if head else ""
    rows = "".join(_row(each, is_long) for each in sheet.rows)
    table = f"<table class=incidents>{above}<tbody>{rows}</tbody></table>"
    scroll = f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0">{table}</div>'
    title = f'<h2 id="{name}">{escape(sheet.title)}</h2>'
    return f'<section class="wide" aria-labelledby="{name}">{title}{notes}{scroll if sheet.rows else ""}</section>'


def _row(cells: Sequence[str], is_long: Sequence[bool]) -> str:
    cell = "".join(
        f"<td{' class=reason' if wraps else ''}>{escape(each)}</td>"
        for each, wraps in zip(cells[1:], is_long[1:], strict=True)
    )
    return f'<tr><th scope="row">{escape(cells[0])}</th>{cell}</tr>'

"""Tables as one HTML page, in the style of a study's report: the experiments, and the story of a version."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from winnow.study.experiments import Sheet

_WRAPPED_ABOVE = 32
"""Columns with longer texts, in characters, are wrapped."""
# Switches the page between dark and light; it keeps no choice.
THEME = """document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = (root.style.colorScheme || (isDark ? "dark" : "light")) === "dark" ? "light" : "dark";
});"""


def render_sheets(title: str, sheets: Sequence[Sheet], empty: str = "") -> str:
    """One self-contained HTML page.

    Args:
        empty: what it says where there are no tables.
    """
    sections = "".join(_section(f"sheet-{index}", sheet) for index, sheet in enumerate(sheets))
    empty_section = f'<p class="empty">{escape(empty)}</p>'
    body = (
        f'<header><h1>{escape(title)}</h1><button id="theme" type="button">Dark / light</button></header>'
        f'<main class="grid">{sections or empty_section}</main>'
    )
    parts = files(__package__)
    return Template((parts / "template.html").read_text("utf-8")).substitute(
        title=escape(title), style=(parts / "report.css").read_text("utf-8"), body=body, data="", script=THEME
    )


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

"""The HTML page of the experiments: their tables, in the style of a study's report."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template

from winnow.study.experiments import Sheet, TrackedExperiments

_THEME = """document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = (root.style.colorScheme || (isDark ? "dark" : "light")) === "dark" ? "light" : "dark";
});"""


def render_experiments(found: TrackedExperiments) -> str:
    """One self-contained HTML page."""
    sections = "".join(_section(f"sheet-{index}", sheet) for index, sheet in enumerate(found.sheets()))
    empty = '<p class="empty">There is no study yet.</p>'
    body = (
        '<header><h1>Experiments</h1><button id="theme" type="button">Dark / light</button></header>'
        f'<main class="grid">{sections or empty}</main>'
    )
    parts = files(__package__)
    return Template((parts / "template.html").read_text("utf-8")).substitute(
        title="Experiments", style=(parts / "report.css").read_text("utf-8"), body=body, data="", script=_THEME
    )


def _section(name: str, sheet: Sheet) -> str:
    kind = " class=alarm" if sheet.is_alarm else ""
    notes = "".join(f"<p{kind}>{escape(each)}</p>" for each in sheet.notes)
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in sheet.head)
    table = (
        f"<table class=incidents><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, sheet.rows))}</tbody></table>"
    )
    scroll = f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0">{table}</div>'
    title = f'<h2 id="{name}">{escape(sheet.title)}</h2>'
    return f'<section class="wide" aria-labelledby="{name}">{title}{notes}{scroll if sheet.rows else ""}</section>'


def _row(cells: tuple[str, ...]) -> str:
    first, *rest = map(escape, cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in rest)}</tr>'

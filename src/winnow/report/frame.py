"""What all HTML pages share: the frame with its style and script, tiles, marks and times."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

# Switches the page between dark and light; it keeps no choice.
THEME = """document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement, isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.style.colorScheme = (root.style.colorScheme || (isDark ? "dark" : "light")) === "dark" ? "light" : "dark";
});"""


def page(title: str, body: str, *, style: str = "", data: str = "", script: str = THEME) -> str:
    """One self-contained HTML page.

    Args:
        title: plain text.
        style: rules besides those of report.css.
        data: text for the script.
    """
    return Template(part("template.html")).substitute(
        title=escape(title), style=part("report.css") + style, body=body, data=data, script=script
    )


def part(name: str) -> str:
    """The text of a file of this package."""
    return (files(__package__) / name).read_text("utf-8")


def header(title: str, below: str = "") -> str:
    """The heading of a page, and the button that switches its colours. `below`: HTML."""
    heading = f"<h1>{escape(title)}</h1>"
    told = f'<div>{heading}<p class="muted">{below}</p></div>' if below else heading
    return f'<header>{told}<button id="theme" type="button">Dark / light</button></header>'


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """The summary of a page: name, value and note of each fact, as HTML."""
    shown = (
        f'<div class="tile"><dt>{name}</dt><dd>{value}{f"<small>{note}</small>" if note else ""}</dd></div>'
        for name, value, note in facts
    )
    return f'<dl class="tiles" aria-label="Summary">{"".join(shown)}</dl>'


def mark(kind: str, text: str) -> str:
    """A text with the mark of a state."""
    return f'<span class="state state-{kind}">{text}</span>'


def plural(count: float) -> str:
    """What makes a noun plural."""
    return "" if count == 1 else "s"


def when(seconds: float) -> str:
    """A time in UTC, to the minute."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")

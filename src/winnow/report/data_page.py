"""The HTML page of a table: what it holds, what violates its schema, and which columns may know the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from winnow.data.stage.summary import ColumnSummary, Summary
from winnow.data.stage.violations import Violation
from winnow.report.frame import header, page, tiles

_STYLE = """
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 16px; }
.columns h3 { margin: 0; color: var(--text); font-size: 16px; overflow-wrap: anywhere; }
figure svg { width: 100%; height: auto; }
figure path.of-column { fill: var(--complete); }
"""


def render_data_page(title: str, summary: Summary, violations: Sequence[Violation], has_schema: bool) -> str:
    """One self-contained HTML page.

    Args:
        has_schema: whether the rows were checked.
    """
    missing = sum(each.missing for each in summary.columns)
    cells = max(1, summary.rows * len(summary.columns))
    facts = [
        ("Rows", f"{summary.rows:,}", ""),
        ("Columns", f"{len(summary.columns)}", ""),
        ("Missing", f"{missing / cells:.1%}", ""),
        ("Violated rules", f"{len(violations)}" if has_schema else "no schema", ""),
        ("Leakage suspects", f"{len(summary.suspects)}" if summary.target is not None else "no target", ""),
    ]
    cards = "".join(_card(each, summary) for each in summary.columns)
    sections = [
        _violations(violations) if has_schema else "",
        _suspects(summary),
        _correlations(summary),
        _section("columns", "Columns", f'<div class="columns">{cards}</div>'),
    ]
    main = f'<main>{tiles(facts)}<div class="grid">{"".join(sections)}</div></main>'
    return page(title, header(title) + main, style=_STYLE)


def _violations(violations: Sequence[Violation]) -> str:
    if not violations:
        return _section("violations", "Violations", _empty("None: all rows fit the schema."))
    rows = [
        (each.column or "(row)", each.rule, f"{each.count:,}", ", ".join(map(str, each.rows)), each.example or "")
        for each in violations
    ]
    return _section("violations", "Violations", _table(("column", "rule", "rows", "first rows", "first value"), rows))


def _suspects(summary: Summary) -> str:
    if summary.target is None:
        return ""
    if not summary.suspects:
        empty = _empty(f"No column alone says what {escape(summary.target)} is.")
        return _section("leakage", "Leakage suspects", empty)
    note = (
        f'<p class="alarm">Each of these alone says nearly what {escape(summary.target)} is. Drop those that are known '
        "only after it (data.drop).</p>"
    )
    rows = [(each.column, f"{each.known:.1%}") for each in summary.suspects]
    return _section("leakage", "Leakage suspects", note + _table(("column", "explains"), rows))


def _correlations(summary: Summary) -> str:
    if not summary.correlations:
        return _section("correlations", "Correlations", _empty("No two numbers are correlated by 0.5 or more."))
    rows = [(one, other, f"{value:+.2f}") for one, other, value in summary.correlations]
    return _section("correlations", "Correlations", _table(("column", "and", "Pearson"), rows))


def _card(column: ColumnSummary, summary: Summary) -> str:
    facts = [("type", column.type), ("missing", f"{column.missing / max(1, summary.rows):.1%}")]
    facts += [("values", f"about {column.distinct:,}")]
    middle = (("mean", column.mean), ("deviation", column.deviation), ("median", column.median))
    measured = (("from", column.low), ("to", column.high), *middle)
    facts += [(name, _number(value)) for name, value in measured if value is not None]
    listing = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    drawing = _histogram(column) if column.bins else _bars(column.top)
    is_target = " (target)" if column.name == summary.target else ""
    return f'<section><h3>{escape(column.name)}{is_target}</h3><dl class="facts">{listing}</dl>{drawing}</section>'


def _histogram(column: ColumnSummary) -> str:
    width, height, highest = 320, 90, max(column.bins) or 1
    slot = width / len(column.bins)
    bars = "".join(
        f'<path class="of-column" d="M{slot * index + 1:.1f} {height}v{-height * count / highest:.1f}'
        f'h{slot - 2:.1f}V{height}z"/>'
        for index, count in enumerate(column.bins)
    )
    label = f"{column.name}: rows from {_number(column.low)} to {_number(column.high)}"
    return f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{bars}</svg></figure>'


def _bars(top: Sequence[tuple[str, int]]) -> str:
    most = max((count for _, count in top), default=1)
    rows = "".join(
        f'<dt>{escape(value)}</dt><dd><span style="width:{70 * count / most:.1f}%"></span>{count:,}</dd>'
        for value, count in top
    )
    return f'<dl class="bars">{rows}</dl>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    above = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
    below = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(each)}</td>" for each in rest)}</tr>'
        for first, *rest in rows
    )
    table = f"<thead><tr>{above}</tr></thead><tbody>{below}</tbody>"
    return f'<div class="scroll"><table class="incidents">{table}</table></div>'


def _empty(text: str) -> str:
    return f'<p class="empty">{text}</p>'


def _section(name: str, title: str, content: str) -> str:
    width = "narrow" if name in ("leakage", "correlations") else "wide"
    return f'<section class="{width}" aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{content}</section>'


def _number(value: float | str | None) -> str:
    if not isinstance(value, float):
        return f"{value}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"

"""Drawings for the page of a look: a column's live rows beside its training rows, and a metric by window. Pure.

The SVG is complete as it is, so that the page needs no script. Colours are those of report.css and page.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from msgspec import Struct

from winnow.bundle.profile import ColumnCounts, ColumnProfile
from winnow.monitoring.report import LiveQuality, QualityPart

MOST_BARS = 10
"""Of a category; the rest is one bar."""


LEAST = 1e-30
"""A bin of zeros begins at the number next below 0."""


class Bar(Struct, frozen=True):
    """One bin: its name, and the shares of the training rows and of the live rows in it."""

    name: str
    reference: float
    live: float


def bars_of(column: ColumnProfile, reference: ColumnCounts, live: ColumnCounts) -> tuple[Bar, ...]:
    """The bins, then `missing` and `new` where any row is. Of a category the largest first, the rest as one."""
    of, now = max(reference.rows, 1), max(live.rows, 1)
    names = column.labels or tuple(_range(column, index) for index in range(len(reference.bins)))
    bars = [Bar(*each) for each in zip(names, _shares(reference.bins, of), _shares(live.bins, now), strict=True)]
    if column.labels:
        bars.sort(key=lambda bar: -max(bar.reference, bar.live))
        rest = bars[MOST_BARS:]
        if len(rest) > 1:
            others = Bar(f"{len(rest)} others", sum(bar.reference for bar in rest), sum(bar.live for bar in rest))
            bars = [*bars[:MOST_BARS], others]
    more = [("new", reference.unknown, live.unknown), ("missing", reference.missing, live.missing)]
    return (*bars, *(Bar(name, known / of, found / now) for name, known, found in more if known or found))


def histogram(column: ColumnProfile, bars: Sequence[Bar]) -> str:
    """Upright bars for the bins of a number: the live rows before the training rows."""
    width, height, left, top, bottom = 440, 178, 38, 8, 22
    inner, base = width - left - 6, height - bottom
    apart = 1 if bars and bars[-1].name == "missing" else 0
    slot = inner / (len(bars) + 0.5 * apart)
    highest = max((max(bar.reference, bar.live) for bar in bars), default=0.0) or 1.0
    step = _step(highest, 3)
    scale = (base - top) / (step * math.ceil(highest / step))
    parts = [
        _grid(left, width - 6, base - step * k * scale, f"{step * k:.0%}") for k in range(math.ceil(highest / step) + 1)
    ]
    for place, bar in enumerate(bars):
        x = left + slot * (place + (0.5 if apart and place == len(bars) - 1 else 0.0))
        parts.append(_bar("trained", x + 0.06 * slot, 0.88 * slot, base, bar.reference * scale))
        parts.append(_bar("live", x + 0.24 * slot, 0.52 * slot, base, bar.live * scale))
    if apart:
        parts.append(_text(width - 6, height - 6, "missing", "end"))
    # A bound is below the line between two bins, a value below the middle of its own.
    shift = 0.5 if _has_few_values(column) else 1.0
    ticks = [(left + slot * (index + shift), number(edge)) for index, edge in enumerate(column.edges)][int(shift < 1) :]
    every = max(math.ceil(len(ticks) / 5), 1)
    parts += [
        _text(x, height - 6, text, "middle")
        for x, text in ticks[(len(ticks) - 1) % every // 2 :: every]
        if not apart or x < width - 80
    ]
    return _svg(width, height, _described(column.name, bars), parts)


def listed(column: ColumnProfile, bars: Sequence[Bar]) -> str:
    """Lying bars for categories and classes."""
    longest = max((max(bar.reference, bar.live) for bar in bars), default=0.0) or 1.0
    rows = "".join(
        f'<dt title="{escape(bar.name)}">{escape(bar.name)}</dt><dd>'
        f'<span class="trained" style="width:{100 * bar.reference / longest:.1f}%"></span>'
        f'<span class="live" style="width:{100 * bar.live / longest:.1f}%"></span>'
        f"<small>{percent(bar.reference)} → <b>{percent(bar.live)}</b></small></dd>"
        for bar in bars
    )
    return f'<dl class="pairs" aria-label="{escape(_described(column.name, bars))}">{rows}</dl>'


def over_time(quality: LiveQuality, allowed: float | None) -> str:
    """The metric of each window with its interval, before the level of the held-out rows."""
    windows = [each for each in quality.windows if each.estimate is not None]
    width, height, left, top, bottom = min(max(420, 60 + 32 * len(windows)), 900), 230, 52, 12, 26
    known = [quality.reference] if quality.reference is not None else []
    ends = [*known, *([] if allowed is None else [allowed]), *(end for each in windows for end in _ends(each))]
    low, high = min(ends), max(ends)
    step = _step((high - low) or abs(high) or 1.0, 4)
    low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    begin, end = windows[0].since, max(windows[-1].until, windows[0].since + 1)

    def x(at: float) -> float:
        return left + (width - left - 8) * (at - begin) / (end - begin)

    def y(value: float) -> float:
        return top + (height - top - bottom) * (high - value) / ((high - low) or 1.0)

    count = round((high - low) / step)
    parts = [_grid(left, width - 8, y(low + step * k), number(round(low + step * k, 12))) for k in range(count + 1)]
    if quality.since is not None:
        start = max(x(quality.since), left)
        parts.append(f'<path class="worse" d="M{start:.1f} {top}H{width - 8}V{height - bottom}H{start:.1f}Z"/>')
    for kind, level in (("held-out", quality.reference), ("allowed", allowed)):
        if level is not None:
            parts.append(f'<path class="{kind}" d="M{left} {y(level):.1f}H{width - 8}"/>')
    points = []
    for each in windows:
        at, (worst, best), mean = x((each.since + each.until) / 2), _ends(each), y(each.estimate or 0.0)
        points.append(f"{at:.1f} {mean:.1f}")
        parts.append(f'<path class="span" d="M{at:.1f} {y(worst):.1f}V{y(best):.1f}"/>')
        parts.append(f'<circle class="dot" cx="{at:.1f}" cy="{mean:.1f}" r="3"/>')
    parts.append(f'<path class="trace" d="M{"L".join(points)}"/>')
    form = "%b %d, %H:%M" if end - begin > 3600 else "%H:%M:%S"
    for anchor, at in (("start", begin), ("end", end)):
        parts.append(_text(x(at), height - 6, datetime.fromtimestamp(at, UTC).strftime(form), anchor))
    drawing = _svg(width, height, f"{quality.metric} of {len(windows)} windows", parts)
    size = f"min-width: {round(0.75 * width)}px; max-width: {round(1.1 * width)}px"
    return drawing.replace("<svg ", f'<svg style="{size}" ', 1)


def number(value: float) -> str:
    """A bound of a bin, short."""
    if abs(value) < LEAST:
        return "0"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e7 else f"{value:.4g}"


def percent(share: float) -> str:
    """A share, with a decimal where it is small."""
    return f"{share:.0%}" if share >= 0.0995 or not share else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _has_few_values(column: ColumnProfile) -> bool:
    """Whether each bin is one value of the training rows, between two that have none."""
    bins, edges = column.counts.bins, column.edges
    return len(edges) > 1 and number(edges[0]) == number(edges[1]) and not bins[0] and not bins[-1]


def _range(column: ColumnProfile, index: int) -> str:
    edges = column.edges
    if not edges:
        return "all values"
    if index == 0:
        has_own = len(edges) > 1 and number(edges[0]) == number(edges[1])  # the value itself is the next bin
        return f"{'below' if has_own else 'up to'} {number(edges[0])}"
    if index == len(edges):
        return f"above {number(edges[-1])}"
    low, high = number(edges[index - 1]), number(edges[index])
    return high if low == high or _has_few_values(column) else f"{low} to {high}"


def _shares(bins: Sequence[int], rows: int) -> list[float]:
    return [each / rows for each in bins]


def _described(name: str, bars: Sequence[Bar]) -> str:
    """What a screen reader says of the drawing."""
    moved = sorted(bars, key=lambda bar: -abs(bar.live - bar.reference))[:3]
    shown = "; ".join(f"{bar.name} {percent(bar.reference)} in training, {percent(bar.live)} live" for bar in moved)
    return f"{name}: {shown}"


def _ends(part: QualityPart) -> tuple[float, float]:
    """The ends of a window's interval, or its estimate."""
    ends = [each for each in (part.interval[0], part.estimate, part.interval[1]) if each is not None]
    return min(ends), max(ends)


def _step(span: float, count: int) -> float:
    """A round step that divides a span into about `count` parts."""
    power = 10.0 ** math.floor(math.log10(span / count))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / count)


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    named = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}"'
    return f"<figure><svg {named}>{''.join(parts)}</svg></figure>"


def _grid(left: float, right: float, y: float, text: str) -> str:
    return f'<path class="grid" d="M{left} {y:.1f}H{right}"/>{_text(left - 6, y + 4, text, "end")}'


def _bar(kind: str, x: float, width: float, base: float, tall: float) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {base:.1f}v{-tall:.1f}h{width:.1f}v{tall:.1f}z"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'

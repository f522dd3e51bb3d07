"""The HTML page of one look at a deployment: what moved, how, since when, how much it matters, and what to do.

In the style of a study's report. All text from outside is escaped. It needs no script but for the switch of colours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files

from winnow.bundle.profile import ColumnCounts, ColumnProfile, Profile
from winnow.config.next_command import next_command
from winnow.finding import Finding, Result
from winnow.monitoring.alarms import runbook_of
from winnow.monitoring.charts import Bar, bars_of, histogram, listed, number, over_time, percent
from winnow.monitoring.report import Alarm, ColumnDrift, LiveQuality, MonitoringReport, QualityPart
from winnow.report.frame import header, mark, page, plural, tiles, when
from winnow.study.formatting import duration, score

MOST_CARDS = 24
"""Columns that moved are drawn, the most important first; the others are in the table alone."""
MOST_ALARMS = 8
WORDS = {
    "psi": "PSI",
    "jensen_shannon": "Jensen–Shannon",
    "wasserstein": "Wasserstein / σ",
    "missing": "Missing",
    "unknown": "New categories",
}
STATES = {Result.FAIL: ("failed", "moved"), Result.PASS: ("winner", "as trained")}


def render_page(report: MonitoringReport, profile: Profile) -> str:
    """One self-contained HTML page about a look.

    Args:
        profile: of the version that the report is about; it names the bins that the report counts in.
    """
    weights = _weights(profile)
    moved = sorted(
        (each for each in report.drift if each.result is Result.FAIL),
        key=lambda each: (not each.is_output, -weights.get(each.name, (0.0, 0))[0]),
    )
    sections = [
        _moved(report, moved, profile, weights),
        *([] if report.quality is None else [_quality(report.quality)]),
        _rules(report),
        _together(report),
        _columns(report, weights),
        _meaning(report),
    ]
    main = f'{_verdict(report)}{tiles(_facts(report, moved))}<div class="grid">{"".join(sections)}</div>'
    told = (
        f"{escape(report.model)} version {escape(report.label)}, digest <code>{escape(report.digest[:12])}</code> "
        f"· looked at {when(report.checked_at)}"
    )
    style = (files(__package__) / "page.css").read_text("utf-8")
    return page(
        f"{report.deployment}: monitoring", f"{header(report.deployment, told)}<main>{main}</main>", style=style
    )


def _verdict(report: MonitoringReport) -> str:
    count = len(report.alarms)
    if count:
        kind, text = "fail", f"{count} alarm{plural(count)}"
    elif report.result is Result.NOT_ENOUGH_DATA:
        kind, text = "unsure", "Not enough data to judge"
    else:
        kind, text = "pass", "No alarm"

    def told(alarm: Alarm) -> str:
        is_named = not alarm.subject or alarm.summary.startswith(alarm.subject)
        return alarm.summary if is_named else f"{alarm.subject}: {alarm.summary}"

    rows = [
        f"<li><b>{escape(each.name)}</b> · {escape(told(each))}<small>since {when(each.since)}, "
        f"{_ago(report.checked_at - each.since)} · runbook: {runbook_of(each)}</small></li>"
        for each in report.alarms
    ]
    skipped = [f"<li><small>Not judged: {_marked(each)}</small></li>" for each in report.skipped]
    listing = f"<ul>{''.join([*rows[:MOST_ALARMS], *skipped])}</ul>" if rows or skipped else ""
    if rest := rows[MOST_ALARMS:]:
        listing += f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>"
    return f'<section class="verdict {kind}" aria-label="Verdict"><p class="big">{text}</p>{listing}</section>'


def _marked(text: str) -> str:
    """Escaped, with keys and commands between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _facts(report: MonitoringReport, moved: Sequence[ColumnDrift]) -> Iterator[tuple[str, str, str]]:
    columns = sum(not each.is_output for each in report.drift)
    outputs = len(report.drift) - columns
    mine = sum(not each.is_output for each in moved)
    enough = "" if report.rows >= report.needed_rows else f"; drift is judged from {report.needed_rows:,} rows on"
    span = _span(report.since, report.until)
    yield "Rows in the window", f"{report.rows:,}", f"{span}, {escape(report.source)}{enough}"
    yield "Columns that moved", f"{mine} of {columns}", f"and {len(moved) - mine} of {outputs} output{plural(outputs)}"
    if report.quality is not None:
        quality = report.quality
        known = "" if quality.reference is None else f"; {score(quality.reference)} on {_source(quality)}"
        name = quality.metric.replace("_", " ").capitalize()
        since = f"{quality.degradation.n:,} outcomes" if quality.since is None else f"since {when(quality.since)}"
        yield name, score(quality.degradation.estimate), f"{since}{known}"
    budget = f"{report.false_alarms_per_month:g} a month"
    yield "False alarms", budget, "is what the thresholds allow, for all that is tested together"


def _moved(
    report: MonitoringReport, moved: Sequence[ColumnDrift], profile: Profile, weights: dict[str, tuple[float, int]]
) -> str:
    title = "What moved"
    if not moved:
        judged = any(each.result is Result.PASS for each in report.drift)
        text = "Nothing: rows look like those of the training." if judged else "Too few rows to tell."
        return _section("moved", title, f'<p class="empty">{text}</p>')
    key = '<p class="note"><span class="key of-trained">training rows</span><span class="key of-live">live rows</span>'
    more = f" The {MOST_CARDS} that matter most of {len(moved)}; the table has all." if len(moved) > MOST_CARDS else ""
    note = f"{key}Share of the rows in each bin. Outputs first, then the columns that matter most.{more}</p>"
    cards = "".join(_card(each, profile, weights, report) for each in moved[:MOST_CARDS])
    return _section("moved", title, f'{note}<div class="columns">{cards}</div>')


def _card(drift: ColumnDrift, profile: Profile, weights: dict[str, tuple[float, int]], report: MonitoringReport) -> str:
    among = profile.outputs if drift.is_output else profile.columns
    column = next((each for each in among if each.name == drift.name), None)
    if column is None:
        return ""
    bars = bars_of(column, drift.reference, drift.live)
    drawing = listed(column, bars) if column.labels else histogram(column, bars) if column.kind != "date" else ""
    points = "".join(f"<li>{each}</li>" for each in _how(drift, column, bars))
    since = "" if drift.since is None else f"since {when(drift.since)}, {_ago(report.checked_at - drift.since)}"
    return (
        f'<section aria-label="{escape(drift.name)}"><div class="head"><h3>{escape(drift.name)}</h3>'
        f'<span class="note">{since}</span></div>{_weight(drift, profile, weights)}{drawing}'
        f'<ul class="how">{points}</ul><p class="do">{_advice(drift, column)}</p></section>'
    )


def _weight(drift: ColumnDrift, profile: Profile, weights: dict[str, tuple[float, int]]) -> str:
    if drift.is_output:
        return '<p class="weight">output of the model</p>'
    if drift.importance is None or drift.name not in weights:
        return '<p class="weight">how much it matters was not measured</p>'
    share, rank = weights[drift.name]
    text = f"{_ordinal(rank)} of {len(weights)} in importance ({drift.importance:.2g} {escape(profile.metric)})"
    if drift.importance <= 0:
        text = f"not important: {escape(profile.metric)} is no worse without it"
    return f'<p class="weight"><i><b style="width:{100 * share:.0f}%"></b></i>{text}</p>'


def _how(drift: ColumnDrift, column: ColumnProfile, bars: Sequence[Bar]) -> Iterator[str]:
    """How it moved, in words, and by which statistics."""
    before, now = drift.reference, drift.live
    if not column.labels and column.kind != "date" and any(before.bins) and any(now.bins):
        (mean, std), (live_mean, live_std) = _moments(column, before), _moments(column, now)
        moved = (live_mean - mean) / column.scale if column.scale > 0 else 0.0
        shift = f" ({moved:{'+.2g' if abs(moved) < 99 else '+.0f'}} standard deviations)"
        yield f"mean {number(mean)} → <b>{number(live_mean)}</b>{shift}, spread {number(std)} → {number(live_std)}"
    elif column.labels and bars:
        most = max(bars, key=lambda bar: abs(bar.live - bar.reference))
        if most.name not in ("missing", "new"):
            yield f"{escape(most.name)}: {percent(most.reference)} → <b>{percent(most.live)}</b> of the rows"
    for name, text in (("missing", "without a value"), ("unknown", "of a category that training did not have")):
        found = next((each for each in drift.findings if each.condition == name and each.result is Result.FAIL), None)
        if found is not None and found.estimate is not None:
            share = getattr(before, name) / max(before.rows, 1)
            yield f"{percent(share)} → <b>{percent(found.estimate)}</b> of the rows {text}"
    shown = ", ".join(
        f"{WORDS.get(each.condition, escape(each.condition))} {each.estimate:.3g} (chance: up to {each.margin:.3g})"
        for each in drift.findings
        if each.result is Result.FAIL and each.estimate is not None and each.condition not in ("missing", "unknown")
    )
    if shown:
        yield f'<span class="muted">{shown}; {now.rows:,} rows</span>'


def _advice(drift: ColumnDrift, column: ColumnProfile) -> str:
    failed = {each.condition: each for each in drift.findings if each.result is Result.FAIL}
    retrain = f"<code>{escape(next_command('retrain', config=..., if_due=True))}</code>"
    if drift.is_output:
        return "The model's answers have changed. The columns that moved may say why, and outcomes whether it is wrong."
    if "unknown" in failed:
        return f"Look up which categories are new. The model treats them all alike; if they are here to stay: {retrain}"
    if "missing" in failed and len(failed) == 1:
        return "Ask what fills this column: values that used to be there are missing, or the other way round."
    if column.kind == "number" and any(drift.live.bins):
        beyond = (drift.live.bins[0] + drift.live.bins[-1]) / sum(drift.live.bins)
        (mean, _), (live_mean, _) = _moments(column, drift.reference), _moments(column, drift.live)
        ratio = live_mean / mean if mean else 0.0
        if beyond > 0.8 or abs(live_mean - mean) > 3 * column.scale:
            times = f" (the mean is {ratio:.3g} times that of training)" if ratio > 0 else ""
            return f"Ask whether the unit or the source of this column has changed{times}."
    return f"If the change is real and here to stay: {retrain}"


def _quality(quality: LiveQuality) -> str:
    found = quality.degradation
    kind = "alarm" if found.result is Result.FAIL else ""
    text = f'<p class="{kind}">{escape(found.reason[:1].upper() + found.reason[1:])}.</p>'
    keys = ""
    if quality.reference is not None:
        keys = (
            f'<p class="note">Line: {score(quality.reference)} on {_source(quality)}. '
            f"Dashed: {score(quality.allowed)}, beyond which it is worse by more than chance and the margin. "
            "Bars: 95 % intervals of single windows.</p>"
        )
    drawing = ""
    if any(each.estimate is not None for each in quality.windows):
        drawing = f'<div class="time">{over_time(quality, quality.allowed)}</div>'
    waiting = f" {quality.waiting:,} newer requests wait for their outcomes." if quality.waiting else ""
    lag = ""
    if quality.lag_s is not None:
        half, most = (duration(each) for each in quality.lag_s)
        lag = f"Half of the outcomes came within {half}, nine tenths within {most}."
    notes = "".join(f'<p class="note">{_marked(each)}</p>' for each in quality.notes)
    windows = [(_span(each.since, each.until), each) for each in reversed(quality.windows)]
    tables = f"<details><summary>Every window</summary>{_parts('window', 'Window', windows, quality)}</details>"
    if quality.slices:
        shown = "" if quality.since is None else f"Since {when(quality.since)}. "
        bold = "" if quality.reference is None else "Bold: the whole interval is beyond what is allowed."
        slices = _parts("slice", "Slice", [(escape(each.name), each) for each in quality.slices], quality)
        tables = f'<h3>By slice</h3><p class="note">{shown}{bold}</p>{slices}{tables}'
    return _section("quality", "Quality", f'{text}{keys}{drawing}<p class="note">{lag}{waiting}</p>{notes}{tables}')


def _parts(name: str, title: str, parts: Iterable[tuple[str, QualityPart]], quality: LiveQuality) -> str:
    rows = [
        (
            text,
            f"{each.requests:,}",
            f"{each.outcomes:,} ({percent(each.outcomes / max(each.requests, 1))})",
            score(each.estimate),
            "–" if None in each.interval else " to ".join(map(score, each.interval)),
            _against(each, quality),
        )
        for text, each in parts
    ]
    return _table(name, (title, "Requests", "Outcomes", "Metric", "95 % interval", "Against held-out rows"), rows)


def _against(part: QualityPart, quality: LiveQuality) -> str:
    """The difference from the held-out rows; bold where the whole interval is beyond what is allowed."""
    if part.estimate is None or quality.reference is None or quality.allowed is None:
        return "–"
    low, high = part.interval
    if quality.allowed < quality.reference:
        is_worse = high is not None and high < quality.allowed
    else:
        is_worse = low is not None and low > quality.allowed
    text = f"{part.estimate - quality.reference:+.3g}"
    return f"<b>{text}</b>" if is_worse else text


def _rules(report: MonitoringReport) -> str:
    if not report.rules:
        return ""
    rows = [(escape(each.condition), _state(each), escape(each.reason)) for each in report.rules]
    return _section("rules", "Rules", _table("rule", ("Rule", "Verdict", "Found"), rows, "text"))


def _together(report: MonitoringReport) -> str:
    found = [("All columns together", report.joint), ("Importances on live rows", report.importances)]
    rows = [(name, _state(each), escape(each.reason)) for name, each in found if each is not None]
    table = _table("test", ("Test", "Verdict", "Found"), rows, "text")
    return _section("together", "Columns together", table) if rows else ""


def _columns(report: MonitoringReport, weights: dict[str, tuple[float, int]]) -> str:
    if not report.drift:
        return ""
    names = [name for name in WORDS if any(name == each.condition for drift in report.drift for each in drift.findings)]
    rows = []
    for drift in report.drift:
        by_name = {each.condition: each for each in drift.findings}
        verdict = mark(*STATES.get(drift.result, ("waiting", "too few rows")))
        matters = "output" if drift.is_output else _rank(drift, weights)
        cells = [_statistic(by_name.get(name)) for name in names]
        rows.append((escape(drift.name), verdict, matters, *cells))
    head = ("Column", "Verdict", "Importance", *(WORDS[name] for name in names))
    note = '<p class="note">Each number is followed by what chance reaches at most.</p>'
    return _section("columns", "Every column and output", note + _table("column", head, rows))


def _rank(drift: ColumnDrift, weights: dict[str, tuple[float, int]]) -> str:
    if drift.importance is None or drift.name not in weights:
        return "–"
    return _ordinal(weights[drift.name][1]) if drift.importance > 0 else "none"


def _statistic(found: Finding | None) -> str:
    if found is None or found.estimate is None:
        return "–"
    shown = percent if found.condition in ("missing", "unknown") else lambda value: f"{value:.3g}"
    text = f"{shown(found.estimate)} / {shown(found.margin)}"
    return f"<b>{text}</b>" if found.result is Result.FAIL else text


def _meaning(report: MonitoringReport) -> str:
    budget = f"{report.false_alarms_per_month:g} false alarm{plural(report.false_alarms_per_month)}"
    body = (
        "<details><summary>How to read this page</summary><p>Live rows are counted in bins of the training rows. "
        "<b>PSI</b> and <b>Jensen–Shannon</b> say how different the shares are; <b>Wasserstein / σ</b> how far values "
        "would have to be moved, in standard deviations of the training rows. Thresholds are what as many rows of the "
        f"training data reach by chance: with them, all tests together raise {budget} in 30 days at most, on average. "
        "A column can move without harm. <b>Importance</b> is its rank by how much worse the model is on rows whose "
        "values of it are shuffled, and <b>Quality</b> says whether the answers have become worse.</p></details>"
    )
    return _section("meaning", "Notes", body)


def _weights(profile: Profile) -> dict[str, tuple[float, int]]:
    """For each measured column its importance as a share of the largest, and its rank from 1."""
    known = sorted(
        ((each.importance, each.name) for each in profile.columns if each.importance is not None), reverse=True
    )
    largest = max((each for each, _ in known), default=0.0)
    return {
        name: (max(each, 0.0) / largest if largest > 0 else 0.0, rank) for rank, (each, name) in enumerate(known, 1)
    }


def _moments(column: ColumnProfile, counts: ColumnCounts) -> tuple[float, float]:
    """Mean and standard deviation of the present values; 0 where the sums tell no difference."""
    rows = max(sum(counts.bins), 1)
    mean, square = counts.total / rows, counts.square_total / rows
    variance = square - mean**2
    return column.centre + mean, math.sqrt(variance) if variance > 1e-9 * square else 0.0


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], last: str = "") -> str:
    titles = "".join(f'<th scope="col">{each}</th>' for each in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in rest[:-1])}'
        f'<td class="{last}">{rest[-1]}</td></tr>'
        for first, *rest in rows
    )
    body = f"<table class=incidents><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" role="region" aria-label="{name}s" tabindex="0">{body}</div>'


def _section(name: str, title: str, body: str) -> str:
    return f'<section class="wide" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{body}</section>'


def _state(found: Finding) -> str:
    shown = {Result.FAIL: ("failed", "alarm"), Result.PASS: ("winner", "quiet")}
    return mark(*shown.get(found.result, ("waiting", "no data")))


def _source(quality: LiveQuality) -> str:
    name = {"holdout": "the holdout", "folds": "held-out folds", "training": "the training rows"}
    return f"{quality.reference_rows:,} rows of {escape(name.get(quality.reference_source, quality.reference_source))}"


def _span(since: float, until: float) -> str:
    first, last = when(since), when(until)
    return f"{first[:-4]} to {last[11:] if first[:10] == last[:10] else last}"


def _ago(seconds: float) -> str:
    return f"{duration(max(seconds, 0.0))} ago"


def _ordinal(rank: int) -> str:
    ending = "th" if 10 <= rank % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"

"""The report's charts as plain values: plotly figures, and what report.js needs for the parallel coordinates.

Colors are written as `var(--name)` and resolved in the page, where report.css defines them for light and dark. Text
from outside is escaped, because plotly reads a little HTML in every label. Strings are never templates.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from winnow.search.readable import duration, score, setting
from winnow.search.report.axes import Axis, metric_axis, parameter_axis
from winnow.search.report.facts import STATES, Facts, TrialFacts, robust_range
from winnow.search.report.timescale import Timescale
from winnow.search.study_view import StudyView
from winnow.tracking.records import TrialState

Figure = dict[str, Any]

COLORS: Mapping[TrialState, str] = {
    "complete": "var(--complete)",
    "pruned": "var(--pruned)",
    "failed": "var(--failed)",
    "running": "var(--running)",
    "waiting": "var(--waiting)",
}
SCALE = [[step / 6, f"var(--scale-{step})"] for step in range(7)]
_FEW_BARS = 1500


def history(view: StudyView, facts: Facts) -> Figure:
    """Each trial's value by number, and the best so far; failed trials stand on the bottom edge."""
    maximize = view.sweep.goal == "maximize"
    best = max if maximize else min
    complete = facts.complete
    values = [trial.mean for trial in complete if trial.mean is not None]
    last = max((trial.record.number for trial in facts.trials), default=0)
    best_x = [trial.record.number for trial in complete]
    best_y = list(accumulate(values, best))
    frame = robust_range([trial.mean for trial in facts.trials if trial.mean is not None], maximize=maximize)
    low, high = _padded(*frame) if frame else (0.0, 1.0)
    data = [
        _line("best so far", [*best_x, last], [*best_y, *best_y[-1:]]),
        _dots("complete", complete, "circle", COLORS["complete"]),
        _dots("pruned", _in_state(facts, "pruned"), "diamond-open", COLORS["pruned"]),
        _dots("running", _in_state(facts, "running"), "circle-open-dot", COLORS["running"]),
        _dots("failed", _in_state(facts, "failed"), "x", COLORS["failed"], at=low),
    ]
    if facts.winner is not None:
        star = _dots(f"winner: trial {facts.winner.record.number}", [facts.winner], "star", "var(--winner)")
        star["marker"].update(size=16, line={"width": 1, "color": "var(--card)"})
        data.append(star)
    layout = _layout(height=380, margin={"l": 64, "r": 16, "t": 36, "b": 48})
    layout["xaxis"] |= {"title": {"text": "trial"}, "range": [-0.6, last + 0.6], "rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": _text(view.sweep.metric)}, "range": [low, high]}
    layout["xaxis"] |= {"dtick": 1} if last < 12 else {}
    return {"data": [trace for trace in data if trace["x"]], "layout": layout}


def importances(shares: Mapping[str, float]) -> Figure:
    """A bar for each parameter, the most important on top."""
    names = list(shares)[::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [_text(name) for name in names],
        "x": [shares[name] for name in names],
        "text": [f"{shares[name]:.0%}" for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": "var(--complete)"},
        "hoverinfo": "y+text",
    }
    layout = _layout(height=80 + 34 * len(names), margin={"l": 16, "r": 48, "t": 8, "b": 40}, showlegend=False)
    layout["xaxis"] |= {"title": {"text": "share of what the parameters explain"}, "tickformat": ".0%"}
    layout["yaxis"] |= {"type": "category", "automargin": True, "showgrid": False}
    layout["bargap"] = 0.35
    return {"data": [bars], "layout": layout}


def heat_map(view: StudyView, facts: Facts) -> Figure:
    """Folds down, trials across: the metric in each cell; above it each trial's mean and state.

    `meta` holds the two orders of the trials that the page switches between.
    """
    maximize = view.sweep.goal == "maximize"
    trials = facts.trials
    folds = max([view.sweep.folds, *(fold + 1 for trial in trials for fold in trial.scores)])
    names = [str(trial.record.number) for trial in trials]
    labels = [f"fold {fold + 1}" for fold in range(folds)]
    scores = [[_finite(trial.scores.get(fold)) for trial in trials] for fold in range(folds)]
    shown = robust_range([value for row in scores for value in row if value is not None], maximize=maximize)
    hover = [[_cell(trial, fold, view.sweep.metric) for trial in trials] for fold in range(folds)]
    gap = 1 if len(trials) <= 150 else 0
    scale = {
        "type": "heatmap",
        "x": names,
        "coloraxis": "coloraxis",
        "xgap": gap,
        "ygap": 1,
        "hoverinfo": "text",
        "hoverongaps": False,
    }
    means = [[trial.mean for trial in trials]]
    about = [[_trial_text(trial) for trial in trials]]
    data = [
        {**scale, "y": labels, "z": scores, "text": hover},
        {**scale, "y": ["mean"], "z": means, "text": about, "yaxis": "y2"},
        {**_state_strip(trials, about), "xgap": gap},
    ]
    layout = _layout(height=150 + min(34 * folds, 700), margin={"l": 60, "r": 8, "t": 8, "b": 48}, showlegend=False)
    strip, row = (0.13, 0.13) if folds <= 8 else (0.06, 0.06)
    layout["xaxis"] |= {"type": "category", "title": {"text": "trial"}, "showgrid": False, "anchor": "y"}
    layout["xaxis"] |= {"categoryorder": "array", "categoryarray": names, "tickangle": 0}
    bare = {"type": "category", "showgrid": False, "ticks": ""}
    layout["yaxis"] |= {**bare, "autorange": "reversed", "domain": [0, 1 - strip - row - 0.02]}
    layout["yaxis2"] = {**bare, "domain": [1 - strip - row, 1 - strip - 0.01]}
    layout["yaxis3"] = {**bare, "domain": [1 - strip + 0.01, 1]}
    low, high = shown or (0.0, 1.0)
    layout["coloraxis"] = {
        "cmin": low,
        "cmax": high if high > low else low + 1e-9,
        "colorscale": SCALE,
        "reversescale": not maximize,
        "showscale": bool(shown),
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11}},
    }
    return {"data": data, "layout": layout, "meta": {"number": names, "mean": _by_mean(trials, maximize=maximize)}}


def timeline(view: StudyView, facts: Facts, scale: Timescale) -> Figure:
    """A row for each worker, a bar for each fold it trained, a cross where an attempt or a trial ended badly."""
    lanes = [_text(worker) for worker in facts.workers]
    bars = _bars(facts, scale)
    data = [_bar_trace(state, tone, group) for (state, tone), group in bars.items()]
    data += [trace for trace in (_lost(view, scale), _failures(facts, scale)) if trace["x"] or trace.get("base")]
    if sum(len(group) for group in bars.values()) <= _FEW_BARS:
        data.append(_trial_labels(facts, scale))
    layout = _layout(height=110 + 38 * max(len(lanes), 1), margin={"l": 16, "r": 16, "t": 36, "b": 48})
    layout["xaxis"] |= {"title": {"text": f"{scale.unit} since the study began"}, "range": [0, scale.length * 1.01]}
    layout["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": lanes[::-1], "automargin": True}
    layout["yaxis"] |= {"showgrid": False, "range": [-0.5, len(lanes) - 0.5]}
    layout |= {"barmode": "overlay", "bargap": 0.3, "uniformtext": {"mode": "hide", "minsize": 9}}
    layout["shapes"] = [_rule(x) for x, _ in scale.pauses]
    layout["annotations"] = [_pause(x, seconds) for x, seconds in scale.pauses]
    return {"data": data, "layout": layout}


def parallel(view: StudyView, facts: Facts) -> dict[str, Any] | None:
    """Axes and lines of the parallel coordinates, the metric last; None where no trial has both ends.

    plotly's own need WebGL, which remote desktops and browsers without a GPU lack: report.js draws these as SVG.
    """
    maximize = view.sweep.goal == "maximize"
    frame = robust_range([trial.mean for trial in facts.complete if trial.mean is not None], maximize=maximize)
    if frame is None or not view.space:
        return None
    axes = [parameter_axis(name, parameter) for name, parameter in view.space.items()]
    result = metric_axis(view.sweep.metric, *frame, maximize=maximize)
    lines = [_parallel_line(trial, axes, result, view.winner) for trial in facts.trials]
    return {
        "axes": [{"name": axis.name, "ticks": axis.ticks} for axis in (*axes, result)],
        "lines": [line for line in lines if line is not None],
    }


def _parallel_line(trial: TrialFacts, axes: Sequence[Axis], result: Axis, winner: int | None) -> dict[str, Any] | None:
    record = trial.record
    places = [axis.position(record.params.get(axis.name)) for axis in axes]
    if record.state not in ("complete", "pruned", "failed") or all(place is None for place in places):
        return None
    value = result.position(trial.mean) if record.state != "failed" else None
    told = ", ".join(f"{name} {setting(chosen)}" for name, chosen in record.params.items())
    return {
        "trial": record.number,
        "state": record.state,
        "winner": record.number == winner,
        "places": [None if place is None else round(place, 4) for place in (*places, value)],
        "text": f"trial {record.number}: {record.state}, {result.name} {score(trial.mean)} with {told}",
    }


def _dots(name: str, trials: Iterable[TrialFacts], symbol: str, color: str, at: float | None = None) -> Figure:
    """Markers at the trials' means, or all `at` one height; trials without a mean are left out."""
    placed = [(trial, trial.mean if at is None else at) for trial in trials]
    placed = [(trial, y) for trial, y in placed if y is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [trial.record.number for trial, _ in placed],
        "y": [y for _, y in placed],
        "text": [_trial_text(trial) for trial, _ in placed],
        "hoverinfo": "text",
        "marker": {
            "symbol": symbol,
            "size": 9 if len(placed) < 200 else 5,
            "color": color,
            "line": {"width": 1.5, "color": color},
        },
        "cliponaxis": at is None,
    }


def _line(name: str, x: list[int], y: list[float]) -> Figure:
    line = {"shape": "hv", "width": 2, "color": "var(--winner)"}
    points = x[: len(y)]
    return {"type": "scatter", "mode": "lines", "name": name, "x": points, "y": y, "line": line, "hoverinfo": "skip"}


def _state_strip(trials: Sequence[TrialFacts], about: list[list[str]]) -> Figure:
    states = list(COLORS)
    steps = [[edge / len(states), COLORS[state]] for place, state in enumerate(states) for edge in (place, place + 1)]
    return {
        "type": "heatmap",
        "x": [str(trial.record.number) for trial in trials],
        "y": ["state"],
        "z": [[states.index(trial.record.state) for trial in trials]],
        "zmin": -0.5,
        "zmax": len(states) - 0.5,
        "colorscale": steps,
        "showscale": False,
        "text": about,
        "hoverinfo": "text",
        "ygap": 1,
        "yaxis": "y3",
    }


def _by_mean(trials: Sequence[TrialFacts], *, maximize: bool) -> list[str]:
    """Trial numbers, the best mean first; trials that are not complete at the end."""

    def order(trial: TrialFacts) -> tuple[bool, float, int]:
        mean = trial.mean if trial.mean is not None else math.inf
        done = trial.record.state == "complete"
        return not done, -mean if maximize and math.isfinite(mean) else mean, trial.record.number

    return [str(trial.record.number) for trial in sorted(trials, key=order)]


_Bar = tuple[str, float, float, str]
"""Worker, start and length on the time scale, hover text."""


def _bars(facts: Facts, scale: Timescale) -> dict[tuple[TrialState, int], list[_Bar]]:
    """A bar per fold; where that would be too many, one per trial. Trials of a worker alternate between two tones."""
    bars: dict[tuple[TrialState, int], list[_Bar]] = {}
    for (trial, worker, tone), stretch in _stretches(facts):
        group = bars.setdefault((trial.record.state, tone), [])
        if facts.folds_trained > _FEW_BARS:
            stretch = [(stretch[0][0], stretch[0][1], stretch[-1][2])]
        for fold, start_ms, end_ms in stretch:
            start = scale.at(start_ms)
            took = duration((end_ms - start_ms) / 1000)
            told = f"trial {trial.record.number} ({trial.record.state}), fold {fold + 1}: {took}"
            group.append((_text(worker), start, scale.at(end_ms) - start, told))
    return dict(sorted(bars.items(), key=lambda item: (STATES.index(item[0][0]), item[0][1])))


def _stretches(facts: Facts) -> Iterable[tuple[tuple[TrialFacts, str, int], list[tuple[int, int, int]]]]:
    """Folds of one trial trained by one worker: ((trial, worker, tone), [(fold, start, end), …]), in order of time."""
    found: dict[tuple[int, str], tuple[TrialFacts, list[tuple[int, int, int]]]] = {}
    for trial in facts.trials:
        for fold in sorted(trial.record.folds, key=lambda fold: fold.started_at_ms):
            _, folds = found.setdefault((trial.record.number, fold.worker), (trial, []))
            folds.append((fold.fold, fold.started_at_ms, fold.ended_at_ms))
    seen: dict[str, int] = {}
    for (_, worker), (trial, folds) in sorted(found.items(), key=lambda item: item[1][1][0][1]):
        seen[worker] = seen.get(worker, -1) + 1
        yield (trial, worker, seen[worker] % 2), folds


def _bar_trace(state: TrialState, tone: int, bars: Sequence[_Bar]) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": state,
        "legendgroup": state,
        "showlegend": tone == 0,
        "y": [worker for worker, _, _, _ in bars],
        "base": [start for _, start, _, _ in bars],
        "x": [length for _, _, length, _ in bars],
        "text": [told for _, _, _, told in bars],
        "textposition": "none",
        "hoverinfo": "text",
        "marker": {
            "color": COLORS[state],
            "opacity": 1 if tone == 0 else 0.62,
            "line": {"width": 1, "color": "var(--card)"},
        },
    }


def _trial_labels(facts: Facts, scale: Timescale) -> Figure:
    """Transparent bars over whole trials that carry their numbers, where those fit."""
    rows = [
        (_text(worker), scale.at(folds[0][1]), scale.at(folds[-1][2]), str(trial.record.number))
        for (trial, worker, _), folds in _stretches(facts)
    ]
    return {
        "type": "bar",
        "orientation": "h",
        "showlegend": False,
        "y": [worker for worker, _, _, _ in rows],
        "base": [start for _, start, _, _ in rows],
        "x": [end - start for _, start, end, _ in rows],
        "text": [number for _, _, _, number in rows],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "insidetextfont": {"color": "var(--on-bar)"},
        "hoverinfo": "skip",
        "marker": {"color": "rgba(0,0,0,0)"},
    }


def _lost(view: StudyView, scale: Timescale) -> Figure:
    """Attempts that were lost, from the start of the fold they died in."""
    spans = [
        (each, scale.at(each.at_ms if each.started_at_ms is None else each.started_at_ms)) for each in view.incidents
    ]
    return {
        "type": "bar",
        "orientation": "h",
        "name": "lost attempt",
        "y": [_text(each.worker) for each, _ in spans],
        "base": [start for _, start in spans],
        "x": [max(scale.at(each.at_ms) - start, scale.length / 200) for each, start in spans],
        "text": [f"trial {each.trial}, attempt {each.attempt}: {_text(each.what)}" for each, _ in spans],
        "textposition": "none",
        "hoverinfo": "text",
        "marker": {
            "color": "var(--card)",
            "pattern": {"shape": "/", "fgcolor": "var(--lost)", "bgcolor": "var(--card)", "size": 6, "solidity": 0.45},
            "line": {"width": 1.5, "color": "var(--lost)"},
        },
    }


def _failures(facts: Facts, scale: Timescale) -> Figure:
    """Where a trial failed, on the row of the worker that trained its last fold."""
    ended = [
        (trial, max(trial.record.folds, key=lambda fold: fold.ended_at_ms).worker, trial.record.ended_at_ms)
        for trial in _in_state(facts, "failed")
        if trial.record.folds
    ]
    placed = [(trial, worker, scale.at(at_ms)) for trial, worker, at_ms in ended if at_ms is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "failure",
        "x": [x for _, _, x in placed],
        "y": [_text(worker) for _, worker, _ in placed],
        "text": [_trial_text(trial) for trial, _, _ in placed],
        "hoverinfo": "text",
        "marker": {"symbol": "x", "size": 9, "color": "var(--failed)", "line": {"width": 1, "color": "var(--card)"}},
    }


def _rule(x: float) -> dict[str, Any]:
    line = {"color": "var(--muted)", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _pause(x: float, seconds: float) -> dict[str, Any]:
    text = f"paused {duration(seconds)}"
    place = {"x": x, "y": 0, "yref": "paper", "yanchor": "bottom", "textangle": -90, "xanchor": "left"}
    return {"text": text, "showarrow": False, "font": {"size": 10, "color": "var(--muted)"}, **place}


def _in_state(facts: Facts, state: TrialState) -> list[TrialFacts]:
    return [trial for trial in facts.trials if trial.record.state == state]


def _cell(trial: TrialFacts, fold: int, metric: str) -> str:
    value = trial.scores.get(fold)
    told = f"{_text(metric)} {score(value)}" if value is not None else "not trained"
    return f"trial {trial.record.number}, fold {fold + 1}<br><b>{told}</b><br>{trial.record.state}"


def _trial_text(trial: TrialFacts) -> str:
    """Hover text: the trial, its mean and spread, its parameters, and why it ended early."""
    record = trial.record
    between = f" ± {score(trial.std)}" if trial.std is not None else ""
    lines = [f"<b>trial {record.number}</b>: {record.state}"]
    if trial.mean is not None:
        lines.append(f"{score(trial.mean)}{between} over {len(trial.scores)} folds")
    lines += [f"{_text(name)} = {_text(setting(value))}" for name, value in record.params.items()]
    if record.reason:
        lines.append(f"<i>{_text(record.reason)}</i>")
    return "<br>".join(lines)


def _text(text: str, longest: int = 80) -> str:
    """Outside text for a plotly label: shortened, and escaped as far as plotly knows entities."""
    shown = " ".join(text.split())
    return html.escape(shown if len(shown) <= longest else shown[: longest - 1] + "…", quote=False)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    return low - room, high + room


def _layout(*, height: int, margin: Mapping[str, int], showlegend: bool = True) -> dict[str, Any]:
    axis = {"gridcolor": "var(--grid)", "zeroline": False, "linecolor": "var(--grid)", "tickfont": {"size": 11}}
    return {
        "height": height,
        "margin": dict(margin),
        "showlegend": showlegend,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": dict(axis),
        "yaxis": dict(axis),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--text)", "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "var(--card)", "bordercolor": "var(--line)", "font": {"color": "var(--text)"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "var(--muted)", "activecolor": "var(--accent)"},
        "hovermode": "closest",
    }

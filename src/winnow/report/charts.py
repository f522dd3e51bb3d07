"""History, importances and heat map as plotly figures, in plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from winnow.report.facts import Facts, TrialFacts, robust_range
from winnow.report.figure import COLORS, Figure, in_state, label, layout_of, trial_text
from winnow.study.formatting import score
from winnow.study.view import StudyView

SCALE = [[step / 6, f"var(--scale-{step})"] for step in range(7)]


def history(view: StudyView, facts: Facts) -> Figure:
    """Each trial's value by number, and the best so far; failed trials stand on the bottom edge."""
    maximize = view.sweep.goal == "maximize"
    best = max if maximize else min
    complete = facts.complete
    values = [trial.mean for trial in complete if trial.mean is not None]
    last = max((trial.record.number for trial in facts.trials), default=0)
    best_x = [trial.record.number for trial in complete]
    best_y = list(accumulate(values, best))
    shown = [trial.mean for trial in facts.trials if trial.mean is not None and trial.record.state != "failed"]
    frame = robust_range(shown, maximize=maximize)
    low, high = _padded(*frame) if frame else (0.0, 1.0)
    edge = low + 0.03 * (high - low)
    data = [
        _dots("complete", complete, "circle", COLORS["complete"]),
        _dots("pruned", in_state(facts, "pruned"), "diamond-open", COLORS["pruned"]),
        _dots("running", in_state(facts, "running"), "circle-open-dot", COLORS["running"]),
        _dots("failed", in_state(facts, "failed"), "x", COLORS["failed"], at=edge),
        _line("best so far", [*best_x, last], [*best_y, *best_y[-1:]]),
    ]
    if facts.winner is not None:
        star = _dots(f"winner: trial {facts.winner.record.number}", [facts.winner], "star", "var(--winner)")
        star["marker"].update(size=16, line={"width": 1, "color": "var(--card)"})
        data.append(star)
    layout = layout_of(height=380, margin={"l": 64, "r": 16, "t": 36, "b": 48})
    layout["xaxis"] |= {"title": {"text": "trial"}, "range": [-0.6, last + 0.6], "rangemode": "tozero"}
    layout["yaxis"] |= {"title": {"text": label(view.sweep.metric)}, "range": [low, high]}
    layout["yaxis"] |= {} if frame else {"showticklabels": False}
    layout["xaxis"] |= {"dtick": 1} if last < 12 else {}
    return {"data": [trace for trace in data if trace["x"]], "layout": layout}


def outside(figure: Figure) -> int:
    """How many trials of a history lie outside its frame."""
    low, high = figure["layout"]["yaxis"]["range"]
    return sum(not low <= y <= high for trace in figure["data"] if trace["mode"] == "markers" for y in trace["y"])


def importances(shares: Mapping[str, float]) -> Figure:
    """A bar for each parameter, the most important on top."""
    names = list(shares)[::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": [label(name) for name in names],
        "x": [shares[name] for name in names],
        "text": [f"{shares[name]:.0%}" for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": "var(--complete)"},
        "hoverinfo": "y+text",
    }
    layout = layout_of(
        height=90 + 42 * min(len(names), 24), margin={"l": 16, "r": 48, "t": 8, "b": 40}, showlegend=False
    )
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
    about = [[trial_text(trial) for trial in trials]]
    data = [
        {**scale, "y": labels, "z": scores, "text": hover},
        {**scale, "y": ["mean"], "z": means, "text": about, "yaxis": "y2"},
        {**_state_strip(trials, about), "xgap": gap},
    ]
    layout = layout_of(height=150 + min(34 * folds, 700), margin={"l": 60, "r": 8, "t": 8, "b": 48}, showlegend=False)
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
        "text": [trial_text(trial) for trial, _ in placed],
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


def _cell(trial: TrialFacts, fold: int, metric: str) -> str:
    value = trial.scores.get(fold)
    told = f"{label(metric)} {score(value)}" if value is not None else "not trained"
    return f"trial {trial.record.number}, fold {fold + 1}<br><b>{told}</b><br>{trial.record.state}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    return low - room, high + room

"""Which worker trained what and when, as a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from winnow.report.facts import STATES, Facts, TrialFacts
from winnow.report.figure import COLORS, Figure, in_state, label, layout_of, trial_text
from winnow.report.timescale import Timescale
from winnow.study.formatting import duration
from winnow.study.view import StudyView
from winnow.tracking.records import TrialState

FEW_BARS = 1500
"""Up to here every fold has a bar of its own; beyond, every trial."""

_Bar = tuple[str, float, float, str]
"""Worker, start and length on the time scale, hover text."""


def timeline(view: StudyView, facts: Facts, scale: Timescale) -> Figure:
    """A row for each worker, a bar for each fold it trained, a cross where an attempt or a trial ended badly."""
    lanes = [label(worker) for worker in facts.workers]
    bars = _bars(facts, scale)
    first = {state: (state, tone) for state, tone in reversed(bars)}
    data = [
        _bar_trace(state, tone, group, in_legend=first[state] == (state, tone)) for (state, tone), group in bars.items()
    ]
    data += [trace for trace in (_lost(view, scale), _failures(facts, scale)) if trace["x"] or trace.get("base")]
    if sum(len(group) for group in bars.values()) <= FEW_BARS:
        data.append(_trial_labels(facts, scale))
    layout = layout_of(height=110 + 38 * max(len(lanes), 1), margin={"l": 16, "r": 16, "t": 36, "b": 48})
    layout["xaxis"] |= {"title": {"text": f"{scale.unit} since the study began"}, "range": [0, scale.length * 1.01]}
    layout["yaxis"] |= {"type": "category", "categoryorder": "array", "categoryarray": lanes[::-1], "automargin": True}
    room = 0.5 if scale.pauses else 0
    layout["yaxis"] |= {"showgrid": False, "range": [-0.5, len(lanes) - 0.5 + room]}
    layout |= {"barmode": "overlay", "bargap": 0.3, "uniformtext": {"mode": "hide", "minsize": 9}}
    layout["shapes"] = [_rule(x) for x, _ in scale.pauses]
    layout["annotations"] = [_pause(x, seconds) for x, seconds in scale.pauses]
    return {"data": data, "layout": layout}


def _bars(facts: Facts, scale: Timescale) -> dict[tuple[TrialState, int], list[_Bar]]:
    """A bar per fold; where that would be too many, one per trial. Trials of a worker alternate between two tones."""
    bars: dict[tuple[TrialState, int], list[_Bar]] = {}
    for (trial, worker, tone), stretch in _stretches(facts):
        group = bars.setdefault((trial.record.state, tone), [])
        if facts.folds_trained > FEW_BARS:
            stretch = [(stretch[0][0], stretch[0][1], stretch[-1][2])]
        for fold, start_ms, end_ms in stretch:
            start = scale.at(start_ms)
            took = duration((end_ms - start_ms) / 1000)
            told = f"trial {trial.record.number} ({trial.record.state}), fold {fold + 1}: {took}"
            group.append((label(worker), start, scale.at(end_ms) - start, told))
    return dict(sorted(bars.items(), key=lambda item: (STATES.index(item[0][0]), item[0][1])))


_Fold = tuple[int, int, int]
"""Fold, start and end in milliseconds."""


def _stretches(facts: Facts) -> Iterable[tuple[tuple[TrialFacts, str, int], list[_Fold]]]:
    """Folds of a trial that one worker trained in a row, by time: ((trial, worker, tone), folds)."""
    found: list[tuple[TrialFacts, str, list[_Fold]]] = []
    for trial in facts.trials:
        for fold in sorted(trial.record.folds, key=lambda fold: fold.started_at_ms):
            timed = (fold.fold, fold.started_at_ms, fold.ended_at_ms)
            last = found[-1] if found else None
            if last and last[0] is trial and last[1] == fold.worker and _follows(timed, last[2][-1]):
                last[2].append(timed)
            else:
                found.append((trial, fold.worker, [timed]))
    seen: dict[str, list[int]] = {}
    for trial, worker, folds in sorted(found, key=lambda stretch: stretch[2][0][1]):
        numbers = seen.setdefault(worker, [])
        if trial.record.number not in numbers[-1:]:
            numbers.append(trial.record.number)
        yield (trial, worker, len(numbers) % 2), folds


def _follows(fold: _Fold, last: _Fold) -> bool:
    """Whether nothing else fits between two folds: else an attempt was lost there, or the sweep paused."""
    return fold[1] - last[2] <= max(last[2] - last[1], 500)


def _bar_trace(state: TrialState, tone: int, bars: Sequence[_Bar], *, in_legend: bool) -> Figure:
    return {
        "type": "bar",
        "orientation": "h",
        "name": state,
        "legendgroup": state,
        "showlegend": in_legend,
        "y": [worker for worker, _, _, _ in bars],
        "base": [start for _, start, _, _ in bars],
        "x": [length for _, _, length, _ in bars],
        "text": [told for _, _, _, told in bars],
        "textposition": "none",
        "hoverinfo": "text",
        "marker": {
            "color": COLORS[state],
            "opacity": 1 if tone == 1 else 0.7,
            # Lines between bars that are thinner than a line would cover them.
            "line": {"width": 1 if len(bars) < 400 else 0, "color": "var(--card)"},
        },
    }


def _trial_labels(facts: Facts, scale: Timescale) -> Figure:
    """Transparent bars over whole trials that carry their numbers, where those fit."""
    rows = [
        (label(worker), scale.at(folds[0][1]), scale.at(folds[-1][2]), str(trial.record.number))
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
        "y": [label(each.worker) for each, _ in spans],
        "base": [start for _, start in spans],
        "x": [max(scale.at(each.at_ms) - start, scale.length / 200) for each, start in spans],
        "text": [f"trial {each.trial}, attempt {each.attempt}: {label(each.what)}" for each, _ in spans],
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
        for trial in in_state(facts, "failed")
        if trial.record.folds
    ]
    placed = [(trial, worker, scale.at(at_ms)) for trial, worker, at_ms in ended if at_ms is not None]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "failure",
        "x": [x for _, _, x in placed],
        "y": [label(worker) for _, worker, _ in placed],
        "text": [trial_text(trial) for trial, _, _ in placed],
        "hoverinfo": "text",
        "marker": {"symbol": "x", "size": 9, "color": "var(--failed)", "line": {"width": 1, "color": "var(--card)"}},
    }


def _rule(x: float) -> dict[str, Any]:
    line = {"color": "var(--muted)", "width": 1, "dash": "dot"}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 0.88, "yref": "paper", "line": line}


def _pause(x: float, seconds: float) -> dict[str, Any]:
    text = f"paused {duration(seconds)}"
    place = {"x": x, "y": 1, "yref": "paper", "yanchor": "top"}
    return {"text": text, "showarrow": False, "font": {"size": 10, "color": "var(--muted)"}, **place}

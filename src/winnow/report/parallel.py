"""Axes and lines of the parallel coordinates, which report.js draws.

plotly's own need WebGL, which remote desktops and browsers without a GPU lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.report.axes import Axis, choice_text, metric_axis, parameter_axis
from winnow.report.facts import Facts, TrialFacts, robust_range
from winnow.study.formatting import score, setting
from winnow.study.view import StudyView

_BAND = 0.55
"""Share of a choice's room on its axis over which its trials are spread."""


def parallel(view: StudyView, facts: Facts) -> dict[str, Any] | None:
    """An axis for each parameter and one for the metric, a line for each trial; None before a trial is complete."""
    maximize = view.sweep.goal == "maximize"
    frame = robust_range([trial.mean for trial in facts.complete if trial.mean is not None], maximize=maximize)
    if frame is None or not view.space:
        return None
    axes = [parameter_axis(name, parameter) for name, parameter in view.space.items()]
    result = metric_axis(view.sweep.metric, *frame, maximize=maximize)
    trials = [trial for trial in facts.trials if trial.record.state in ("complete", "pruned", "failed")]
    worth = {trial.record.number: _worth(trial, result) for trial in trials}
    columns = [_places(axis, trials, worth) for axis in axes]
    lines = []
    for trial in trials:
        places = [column.get(trial.record.number) for column in columns]
        if any(place is not None for place in places):
            lines.append(_line(trial, [*places, worth[trial.record.number]], result.name, view.winner))
    return {"axes": [{"name": axis.name, "ticks": axis.ticks} for axis in (*axes, result)], "lines": lines}


def _worth(trial: TrialFacts, result: Axis) -> float | None:
    return None if trial.record.state == "failed" else result.position(trial.mean)


def _places(axis: Axis, trials: Sequence[TrialFacts], worth: Mapping[int, float | None]) -> dict[int, float]:
    """Where each trial crosses an axis.

    At a choice the trials are spread over a band, worst to best from the bottom up: through one point they could
    neither be counted nor followed.
    """
    values = {each.record.number: each.record.params.get(axis.name) for each in trials}
    placed = {number: place for number, value in values.items() if (place := axis.position(value)) is not None}
    if axis.choices is None:
        return placed
    room = _BAND / len(axis.choices)
    for text, centre in axis.choices.items():
        alike = [number for number in placed if choice_text(values[number]) == text]
        alike.sort(key=lambda number: (-1.0 if (share := worth[number]) is None else share, -number))
        for rank, number in enumerate(alike):
            placed[number] = centre + room * ((rank + 0.5) / len(alike) - 0.5)
    return placed


def _line(trial: TrialFacts, places: Sequence[float | None], metric: str, winner: int | None) -> dict[str, Any]:
    record = trial.record
    told = ", ".join(f"{name} {setting(chosen)}" for name, chosen in record.params.items())
    result = f"{metric} {score(trial.mean)} with " if trial.mean is not None else ""
    return {
        "trial": record.number,
        "state": record.state,
        "winner": record.number == winner,
        "places": [None if place is None else round(place, 4) for place in places],
        "text": f"trial {record.number}: {record.state}, {result}{told}",
    }

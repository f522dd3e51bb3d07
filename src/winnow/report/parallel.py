"""Axes and lines of the parallel coordinates, which report.js draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.report.axes import Axis, choice_text, metric_axis, parameter_axis
from winnow.report.facts import Facts, TrialFacts, robust_range
from winnow.study.view import StudyView

_BAND = 0.55
"""Share of a choice's space on the axis over which its trials are spread."""


def parallel(view: StudyView, facts: Facts) -> dict[str, Any] | None:
    """One axis per parameter and one for the metric, and one line per trial; None if no trial is complete.

    A line is the trial's index and its positions on the axes from 0 (bottom) to 1 (top), or None.
    """
    maximize = view.sweep.goal == "maximize"
    frame = robust_range([trial.mean for trial in facts.complete if trial.mean is not None], maximize=maximize)
    if frame is None or not view.space:
        return None
    axes = [parameter_axis(name, parameter) for name, parameter in view.space.items()]
    result = metric_axis(view.sweep.metric, *frame, maximize=maximize)
    trials = {
        index: trial
        for index, trial in enumerate(facts.trials)
        if trial.record.state in ("complete", "pruned", "failed")
    }
    worth = {
        index: None if trial.record.state == "failed" else result.position(trial.mean)
        for index, trial in trials.items()
    }
    columns = [_places(axis, trials, worth) for axis in axes]
    lines = []
    for index in trials:
        places = [column.get(index) for column in columns]
        if any(place is not None for place in places):
            lines.append([index, *(None if place is None else round(place, 3) for place in (*places, worth[index]))])
    return {"axes": [{"name": axis.name, "ticks": axis.ticks} for axis in (*axes, result)], "lines": lines}


def _places(axis: Axis, trials: Mapping[int, TrialFacts], worth: Mapping[int, float | None]) -> dict[int, float]:
    """Where each trial crosses an axis, by its index.

    The trials of one choice are spread over a band, worst at the bottom, so that they can be told apart.
    """
    values = {index: trial.record.params.get(axis.name) for index, trial in trials.items()}
    placed = {index: place for index, value in values.items() if (place := axis.position(value)) is not None}
    if axis.choices is None:
        return placed
    room = _BAND / len(axis.choices)
    alike: dict[str, list[int]] = {}
    for index in placed:
        alike.setdefault(choice_text(values[index]), []).append(index)
    for text, indices in alike.items():
        indices.sort(key=lambda index: (-1.0 if (share := worth[index]) is None else share, -index))
        for rank, index in enumerate(indices):
            placed[index] = axis.choices[text] + room * ((rank + 0.5) / len(indices) - 0.5)
    return placed

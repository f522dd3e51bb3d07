"""The learning curves of the best trials, which report.js draws: a panel for each fold, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from winnow.report.facts import Facts, robust_range
from winnow.study.view import StudyView

MOST_TRIALS = 30
MOST_FOLDS = 12


def learning(view: StudyView, facts: Facts, best_first: Sequence[int]) -> dict[str, Any] | None:
    """The curves by name, each with its range and its lines; None if no trial has any.

    A line is a trial's index, a fold (0-based), and [epoch, value] pairs. `shares` are the places of the drawn trials
    from the worst (0) to the best (1).
    """
    drawn = [index for index in best_first if facts.trials[index].record.curves][:MOST_TRIALS]
    lines: dict[str, list[tuple[int, int, list[tuple[int, float]]]]] = {}
    for index in drawn:
        for fold, curves in sorted(facts.trials[index].record.curves.items()):
            for name, points in curves.items() if fold < MOST_FOLDS else ():
                lines.setdefault(name, []).append((index, fold, [(e, float(f"{v:.4g}")) for e, v in points]))
    if not lines:
        return None
    folds = 1 + max(fold for found in lines.values() for _, fold, _ in found)
    named = [
        {"name": name, "range": _range(view, name, found), "lines": found} for name, found in sorted(lines.items())
    ]
    shares = {index: 1 - place / max(len(drawn) - 1, 1) for place, index in enumerate(drawn)}
    return {"folds": folds, "curves": named, "shares": shares}


def _range(
    view: StudyView, name: str, lines: Sequence[tuple[int, int, Sequence[tuple[int, float]]]]
) -> tuple[float, float]:
    """The values to show; of a loss and of the objective without outliers on the worse side, such as first epochs."""
    values = [value for _, _, points in lines for _, value in points]
    is_loss = name.endswith("loss")
    frame = None
    if is_loss or name == f"val_{view.sweep.metric}":
        frame = robust_range(values, maximize=not is_loss and view.sweep.goal == "maximize")
    low, high = frame or (min(values), max(values))
    room = (high - low) * 0.04 or abs(high) * 0.05 or 0.5
    return low - room, high + room

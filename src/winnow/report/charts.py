"""The values that report.js draws, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow.report.facts import Facts, TrialFacts, robust_range
from winnow.report.learning import learning
from winnow.report.parallel import parallel
from winnow.report.timeline import Job, timeline
from winnow.report.timescale import Timescale
from winnow.study.formatting import duration, score, setting
from winnow.study.view import StudyView


@dataclass(frozen=True)
class Column:
    """A column of the table of trials.

    Attributes:
        texts: one cell per trial, in the study's order.
    """

    name: str
    texts: tuple[str, ...]


def columns_of(view: StudyView, facts: Facts) -> list[Column]:
    """Trial, state, value, spread, the parameters, folds, training time, attempts, and the metrics on the holdout."""
    trials = facts.trials
    holdouts = dict.fromkeys(name for trial in trials for name in trial.record.holdout)
    return [
        Column("trial", tuple(str(trial.record.number) for trial in trials)),
        Column("state", tuple(trial.record.state for trial in trials)),
        Column(view.sweep.metric, tuple(map(_value, trials))),
        Column("±", tuple(score(trial.std) for trial in trials)),
        *(
            Column(
                name,
                tuple(setting(trial.record.params[name]) if name in trial.record.params else "–" for trial in trials),
            )
            for name in parameters_of(view, facts)
        ),
        Column("folds", tuple(f"{len(trial.scores)}/{view.sweep.folds}" for trial in trials)),
        Column("training", tuple(duration(trial.train_s) for trial in trials)),
        Column("attempts", tuple(str(trial.record.attempts) for trial in trials)),
        *(
            Column(f"holdout {name}", tuple(score(trial.record.holdout.get(name)) for trial in trials))
            for name in holdouts
        ),
    ]


def parameters_of(view: StudyView, facts: Facts) -> list[str]:
    """The parameters of the space, then those of an earlier space that only trials have."""
    return list(dict.fromkeys([*view.space, *(name for trial in facts.trials for name in trial.record.params)]))


def notes_of(trial: TrialFacts) -> list[str]:
    """Why a trial ended, and whether it was trained with other code."""
    code = ["trained with other code"] if trial.record.has_other_code else []
    return ([trial.record.reason] if trial.record.reason else []) + code


def best_first(view: StudyView, facts: Facts) -> list[int]:
    """Indices of the trials, best mean first; incomplete trials come last, by number."""
    sign = -1 if view.sweep.goal == "maximize" else 1

    def order(index: int) -> tuple[bool, float, int]:
        trial = facts.trials[index]
        is_ranked = trial.record.state == "complete" and trial.mean is not None
        return not is_ranked, sign * (trial.mean or 0.0) if is_ranked else 0.0, trial.record.number

    return sorted(range(len(facts.trials)), key=order)


def history_frame(view: StudyView, facts: Facts) -> tuple[float, float] | None:
    """The initial value range of the history; None if no trial has a value."""
    shown = [trial.mean for trial in facts.trials if trial.mean is not None and trial.record.state != "failed"]
    frame = robust_range(shown, maximize=view.sweep.goal == "maximize")
    if frame is None:
        return None
    low, high = frame
    room = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    return low - room, high + room


def outside(facts: Facts, frame: tuple[float, float] | None) -> int:
    """Number of trials outside the initial range of the history."""
    means = [trial.mean for trial in facts.trials if trial.mean is not None and trial.record.state != "failed"]
    return sum(not frame[0] <= mean <= frame[1] for mean in means) if frame else 0


def score_range(view: StudyView, facts: Facts) -> tuple[float, float] | None:
    """The range of fold scores that the heat map's colors cover."""
    scores = [value for trial in facts.trials for value in trial.scores.values() if math.isfinite(value)]
    return robust_range(scores, maximize=view.sweep.goal == "maximize")


def chart_data(view: StudyView, facts: Facts, columns: Sequence[Column], jobs: Sequence[Job]) -> dict[str, Any]:
    """Everything that report.js draws. Lists about trials are in the study's order."""
    trials = facts.trials
    folds = max([view.sweep.folds, *(fold + 1 for trial in trials for fold in trial.scores)])
    return {
        "maximize": view.sweep.goal == "maximize",
        "metric": view.sweep.metric,
        "winner": trials.index(facts.winner) if facts.winner is not None else None,
        "parameters": len(parameters_of(view, facts)),
        "columns": [{"name": column.name, "texts": column.texts} for column in columns],
        "notes": [notes_of(trial) for trial in trials],
        "numbers": [trial.record.number for trial in trials],
        "means": [_rounded(trial.mean) for trial in trials],
        "scores": [[_rounded(trial.scores.get(fold)) for fold in range(folds)] for trial in trials],
        "bestFirst": best_first(view, facts),
        "historyFrame": history_frame(view, facts),
        "scoreRange": score_range(view, facts),
        "learning": learning(view, facts, best_first(view, facts)),
        "parallel": parallel(view, facts),
        "timeline": timeline(view, facts, jobs, Timescale.over(facts.sittings)) if facts.workers else None,
    }


def _value(trial: TrialFacts) -> str:
    """The mean; in brackets if it covers only some folds."""
    return score(trial.mean) if trial.record.state == "complete" or trial.mean is None else f"({score(trial.mean)})"


def _rounded(value: float | None) -> float | None:
    """Six significant digits: finer than a pixel, in a third of the bytes."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None

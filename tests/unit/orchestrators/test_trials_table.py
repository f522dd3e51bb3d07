"""A study's trials as a table, and a sweep's result as text and HTML."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from winnow.orchestrators.train import SweepResult
from winnow.tracking.records import FoldRecord, TrialRecord


def trial(number: int, state: str, value: float | None, reason: str | None = None) -> TrialRecord:
    folds = tuple(FoldRecord(fold, {"f1": value}, 1, 0.1, 0, 1, "w0") for fold in range(2) if value is not None)
    return TrialRecord("cells", number, state, {"lr": 0.1 * number}, folds, value, 1, reason, 1000, 3500)  # type: ignore[arg-type]


TRIALS = (trial(0, "complete", 0.5), trial(1, "complete", 0.75), trial(2, "failed", None, "<boom>"))
RESULT = SweepResult(
    study="cells",
    was_done=False,
    trials=3,
    counts={"complete": 2, "pruned": 0, "failed": 1},
    best=TRIALS[1],
    metric="f1",
    refits=(),
    refits_left=(),
    report=Path("report.html"),
    records=TRIALS,
)


def test_the_columns_are_optunas() -> None:
    found = RESULT.trials_dataframe()
    assert list(found.columns) == [
        *("number", "value", "datetime_start", "datetime_complete", "duration", "params_lr"),
        *("user_attrs_fold_scores", "user_attrs_reason", "state"),
    ]
    assert list(found["state"]) == ["COMPLETE", "COMPLETE", "FAIL"]
    assert list(found["duration"]) == [pd.Timedelta(seconds=2.5)] * 3
    assert list(found["user_attrs_fold_scores"]) == [[0.5, 0.5], [0.75, 0.75], []]


def test_a_result_is_one_line_and_in_a_notebook_the_best_trials() -> None:
    line = "SweepResult of cells: 3 trials (2 complete, 0 pruned, 1 failed); best: trial 1, f1 0.7500"
    assert repr(RESULT) == f"<{line}>"
    html = RESULT._repr_html_()
    assert html.index("<td>1</td><td>0.75</td><td>0.1</td>") < html.index("<td>0</td><td>0.5</td><td>0</td>")
    assert line in html
    assert repr(TRIALS[1]) == "<TrialRecord 1 of cells: complete, 0.7500, {'lr': 0.1}>"

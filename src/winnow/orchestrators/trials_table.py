"""A study's trials as a table with Optuna's columns."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from winnow.tracking.records import TrialRecord

OPTUNAS = {"failed": "FAIL"}
"""Optuna's name of a state, where it is not winnow's in capitals."""


def trials_dataframe(trials: Sequence[TrialRecord], metric: str) -> pd.DataFrame:
    """One row for each trial, with the columns of Optuna's `Study.trials_dataframe`."""
    started, ended = (
        pd.to_datetime(pd.Series(times, dtype="Int64"), unit="ms")
        for times in ([trial.started_at_ms for trial in trials], [trial.ended_at_ms for trial in trials])
    )
    names = sorted({name for trial in trials for name in trial.params})
    return pd.DataFrame(
        {
            "number": [trial.number for trial in trials],
            "value": [trial.value for trial in trials],
            "datetime_start": started,
            "datetime_complete": ended,
            "duration": ended - started,
            **{f"params_{name}": [trial.params.get(name) for trial in trials] for name in names},
            "user_attrs_fold_scores": [[fold.metrics.get(metric) for fold in trial.folds] for trial in trials],
            "user_attrs_reason": [trial.reason for trial in trials],
            "state": [OPTUNAS.get(trial.state, trial.state.upper()) for trial in trials],
        }
    )

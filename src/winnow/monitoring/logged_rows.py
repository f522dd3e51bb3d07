"""The rows of a version that its prediction log has, for tests that take rows and not counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pandas as pd

from winnow.monitoring.outcomes import joined_log

_ROWS = """
SELECT fields FROM predictions
WHERE version = $version AND NOT is_mirrored AND fields IS NOT NULL AND time <= $until ORDER BY time DESC LIMIT $most
"""
_OUTCOMES = """
SELECT fields, outcome ->> '$' FROM joined
WHERE version = $version AND NOT is_mirrored AND fields IS NOT NULL AND outcome IS NOT NULL
ORDER BY time DESC LIMIT $most
"""


def logged_rows(
    paths: Sequence[str], *, deployment: str, version: str, since: float, until: float, most: int, place: str
) -> pd.DataFrame:
    """The newest rows of a version, with the columns of `serving.log.fields`; no columns where the log has none.

    Arguments and errors are those of `joined_log`; `most` is how many rows at most.
    """
    with joined_log(paths, "accuracy", since=since, deployment=deployment, place=place) as log:
        found = log.execute(_ROWS, {"version": version, "until": until, "most": most}).fetchall()
    return pd.DataFrame([msgspec.json.decode(fields) for (fields,) in found])


def logged_outcomes(
    paths: Sequence[str], *, deployment: str, version: str, most: int, place: str
) -> tuple[pd.DataFrame, list[str]]:
    """The newest rows of a version whose outcome is known, and their outcomes, as `logged_rows` otherwise."""
    with joined_log(paths, "accuracy", deployment=deployment, place=place) as log:
        found = log.execute(_OUTCOMES, {"version": version, "most": most}).fetchall()
    return pd.DataFrame([msgspec.json.decode(fields) for fields, _ in found]), [outcome for _, outcome in found]

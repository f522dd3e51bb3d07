"""Reads a version's predictions and their outcomes from the prediction log: sums by window and slice, and delays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from winnow.monitoring.outcomes import joined_log

MOST_SLICES = 12
"""Of one column, the most frequent; the rest is one slice."""
PLACE = "monitoring.quality.outcomes"

_WHOSE = "version = $version AND kind IN ('assigned', 'fallback')"
_JUDGED = f"""
CREATE TABLE judged AS SELECT request_id, time, CAST(floor(time / $window_s) AS BIGINT) AS time_window, value,
    outcome_time - time AS delay, fields FROM joined
WHERE {_WHOSE} AND time <= $until
"""
_WAITING = f"SELECT count(DISTINCT request_id) FROM predictions WHERE {_WHOSE} AND time > $until"
_REQUESTS = """
SELECT {key} AS key, time_window, min(time) AS time, avg(value) AS value FROM judged
GROUP BY key, time_window, request_id
"""
_PARTS = """
SELECT key, time_window, min(time), max(time), count(*), count(value), coalesce(sum(value), 0),
    coalesce(sum(value ** 2), 0)
FROM ({requests}) GROUP BY key, time_window ORDER BY time_window
"""
_DELAYS = """
SELECT count(*), avg(value), var_samp(value), min(half), min(most) FROM (
    SELECT value, delay, quantile_cont(delay, 0.5) OVER () AS half, quantile_cont(delay, 0.9) OVER () AS most
    FROM judged WHERE value IS NOT NULL)
GROUP BY delay > half ORDER BY delay > half
"""


class Sums(Struct, frozen=True):
    """Sums over the requests of a window, or of a slice in it. The rows of one request are one observation: their mean.

    Attributes:
        key: of slices the value, None where it is missing, or of numbers the index of the interval.
        window: its number since the epoch.
        since, until: of the first and the last of these predictions, in seconds since the epoch.
        outcomes: requests with an outcome.
        total, square_total: of the metric's value for these, and of its square.
    """

    key: Any
    window: int
    since: float
    until: float
    requests: int
    outcomes: int
    total: float
    square_total: float


class Half(Struct, frozen=True):
    """The outcomes that came soon, or those that came late.

    Attributes:
        mean, variance: of the metric.
        median_s, most_s: after how many seconds half and nine tenths of all outcomes had arrived.
    """

    outcomes: int
    mean: float
    variance: float | None
    median_s: float
    most_s: float


@dataclass(frozen=True, eq=False)
class LoggedQuality:
    """A version's predictions that are old enough, and what became of them.

    Attributes:
        windows: those with predictions, in order of time.
        outcome_windows, values: the window and the metric of each request with an outcome.
        slices: by column, those of every window. None where no prediction has the column.
        halves: the outcomes by their delay, the earlier half first; one where all took equally long, none without any.
        waiting: requests that are too new.
    """

    windows: tuple[Sums, ...]
    outcome_windows: NDArray[np.int64]
    values: NDArray[np.float64]
    slices: dict[str, tuple[Sums, ...] | None]
    halves: tuple[Half, ...]
    waiting: int


def read_quality(
    paths: Sequence[str],
    metric: str,
    *,
    deployment: str,
    version: str,
    since: float,
    until: float,
    window_s: float,
    slices: Mapping[str, Sequence[float]],
) -> LoggedQuality:
    """Read what became of a version's predictions. Copies are left out, and requests whose client chose the revision.

    Args:
        paths, metric: as for `joined_log`, which raises the errors.
        since, until: of the predictions, in seconds since the epoch.
        window_s: length of the windows, which begin at its multiples.
        slices: for each column the upper bounds of the intervals but the last; none for a column of categories.
    """
    with joined_log(paths, metric, since=since, deployment=deployment, place=PLACE) as log:
        whose = {"version": version, "until": until}
        waiting = log.execute(_WAITING, whose).fetchall()[0][0]
        log.execute(_JUDGED, {**whose, "window_s": window_s})
        known = f"SELECT time_window, value FROM ({_REQUESTS.format(key='NULL')}) WHERE value IS NOT NULL"
        columns = log.execute(known).fetchnumpy()
        return LoggedQuality(
            windows=_sums(log, "NULL"),
            outcome_windows=np.asarray(columns["time_window"], dtype=np.int64),
            values=np.asarray(columns["value"], dtype=np.float64),
            slices={name: _slices(log, name, bounds) for name, bounds in slices.items()},
            halves=tuple(Half(*row) for row in log.execute(_DELAYS).fetchall()),
            waiting=waiting,
        )


def _sums(log: duckdb.DuckDBPyConnection, key: str) -> tuple[Sums, ...]:
    query = _PARTS.format(requests=_REQUESTS.format(key=key))
    return tuple(Sums(*row) for row in log.execute(query).fetchall())


def _slices(log: duckdb.DuckDBPyConnection, name: str, bounds: Sequence[float]) -> tuple[Sums, ...] | None:
    pointer = "'/" + name.replace("~", "~0").replace("/", "~1").replace("'", "''") + "'"
    if log.execute(f"SELECT count(*) > 0 AND count(fields -> {pointer}) = 0 FROM judged").fetchall()[0][0]:
        return None
    text = f"fields ->> {pointer}"
    if bounds:
        number = f"TRY_CAST({text} AS DOUBLE)"
        cases = " ".join(f"WHEN {number} <= {bound!r} THEN {index}" for index, bound in enumerate(bounds))
        return _sums(log, f"CASE WHEN {number} IS NULL THEN NULL {cases} ELSE {len(bounds)} END")
    frequent = (
        f"SELECT text FROM (SELECT {text} AS text FROM judged) WHERE text IS NOT NULL"
        f" GROUP BY text ORDER BY count(*) DESC, text LIMIT {MOST_SLICES}"
    )
    return _sums(log, f"CASE WHEN {text} IS NULL OR {text} IN ({frequent}) THEN {text} ELSE '' END")

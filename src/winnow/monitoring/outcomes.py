"""Joins logged predictions with what turned out to be true, by the id of the request.

Servers write JSON lines (`serving.prediction_log`, docs/outcomes.md) and collectors ship them; this module reads what
the collectors wrote, with DuckDB, which keeps what exceeds its memory limit on disk. An outcome may have reached
another replica than the one that predicted, and later, so nothing but the join knows both.

The rows of one request are one observation, the mean of the metric over its rows that have an outcome: a route decides
by requests. Lines of other programs are skipped. A prediction that was logged twice counts once, and of several
outcomes for it the latest.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, get_args

import duckdb
from msgspec import Struct
from scipy.stats import binomtest, norm

from winnow.config.atomic_write import replacing
from winnow.config.errors import InputError, WinnowError
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_flag
from winnow.monitoring.log_files import local_files
from winnow.routing import OutcomeCounts

OutcomeMetric = Literal["accuracy", "absolute_error", "squared_error", "value"]
"""`accuracy`: 1 where the outcome is the predicted class, else 0. `absolute_error`, `squared_error`: of a predicted
number; lower is better. `value`: the outcome itself, a number such as a sale's amount; higher is better."""

METRICS: Final[tuple[str, ...]] = get_args(OutcomeMetric)
MEMORY_LIMIT = "512MB"
LONGEST_LINE = 16 * 2**20
CONFIDENCE = 0.95

_NUMBERS = "TRY_CAST(outcome ->> '$' AS DOUBLE)"
_ERROR = f"({_NUMBERS} - TRY_CAST(prediction ->> '$' AS DOUBLE))"
_VALUES: Final[dict[str, str]] = {
    "accuracy": "CAST((outcome ->> '$') = (prediction ->> '$') AS DOUBLE)",
    "absolute_error": f"abs({_ERROR})",
    "squared_error": f"{_ERROR} ** 2",
    "value": _NUMBERS,
}

_LINES = """
CREATE VIEW lines AS SELECT * FROM read_json({files}, format = 'newline_delimited', ignore_errors = true,
    maximum_object_size = {longest}, columns = {{event: 'VARCHAR', time: 'DOUBLE', deployment: 'VARCHAR',
    revision: 'BIGINT', route: 'BIGINT', assigned: 'BIGINT', kind: 'VARCHAR', model: 'VARCHAR', version: 'VARCHAR',
    request_id: 'VARCHAR', "row": 'BIGINT', prediction: 'JSON', probability: 'DOUBLE', fields: 'JSON',
    outcome: 'JSON'}})
"""
_PREDICTIONS = """
CREATE TABLE predictions AS SELECT * EXCLUDE (line), unnest(line) FROM (
SELECT coalesce(deployment, '') AS deployment, request_id, coalesce("row", 0) AS "row",
    coalesce(kind, '') = 'mirrored' AS is_mirrored, count(*) AS copies,
    arg_min({time: time, revision: coalesce(revision, 0), route: route,
        assigned: coalesce(assigned, revision, 0), kind: coalesce(kind, 'assigned'), model: model, version: version,
        prediction: prediction, probability: probability, fields: fields},
        -- What stable answered in the candidate's place is what the client saw.
        {is_unseen: coalesce(kind, '') <> 'fallback', time: coalesce(time, 0)}) AS line
FROM lines
WHERE event = 'prediction' AND request_id IS NOT NULL AND prediction IS NOT NULL
    AND ($since_route IS NULL OR route >= $since_route) AND ($deployment IS NULL OR deployment = $deployment)
    AND ($since IS NULL OR time >= $since)
GROUP BY ALL)
"""
_OUTCOMES = """
CREATE TABLE outcomes AS
SELECT request_id, coalesce("row", 0) AS "row", max(time) AS outcome_time,
    min(outcome) <> max(outcome) AS is_corrected,
    arg_max(outcome, {time: coalesce(time, 0), outcome: outcome}) AS outcome
FROM lines WHERE event = 'outcome' AND request_id IS NOT NULL AND outcome IS NOT NULL GROUP BY ALL
"""
_JOINED = """
CREATE VIEW joined AS
SELECT *, {value} AS value FROM predictions LEFT JOIN outcomes USING (request_id, "row")
"""
_COUNTS = """
SELECT {groups}, count(*), count(value), coalesce(sum(value), 0), coalesce(sum(value ** 2), 0){further}
FROM (SELECT deployment, is_mirrored, assigned, request_id, avg(value) AS value,
        any_value(version) AS version, bool_or(kind = 'fallback') AS is_fallback
    FROM joined WHERE {where} GROUP BY ALL)
GROUP BY {groups} ORDER BY {groups}
"""


class RevisionOutcomes(Struct, frozen=True):
    """What became of the predictions of one revision.

    Attributes:
        deployment: its name; empty where lines name none.
        version: of the model. Empty where lines name none.
        is_mirrored: they are copies of requests that another revision answered.
        fallbacks: requests that stable answered in the revision's place; they are among `counts.requests`.
        estimate: mean of the metric over the requests with an outcome; None without any.
        interval: of the mean, at a confidence of 0.95, for a single look: Wilson's for `accuracy`, else the normal one.
    """

    deployment: str
    version: str
    is_mirrored: bool
    fallbacks: int
    counts: OutcomeCounts
    estimate: float | None
    interval: tuple[float | None, float | None]


class JoinedOutcomes(Struct, frozen=True):
    """A prediction log joined with its outcomes.

    Attributes:
        unknown: outcomes that no logged prediction belongs to: the log samples, has not arrived, or the id is wrong.
        corrected: predictions with outcomes that contradict each other, of which the latest counts.
        repeated: predictions that were logged more than once: a client sent a request id again.
        chosen: requests whose client had chosen the revision; they are in no other number.
    """

    metric: str
    revisions: tuple[RevisionOutcomes, ...]
    unknown: int
    corrected: int
    repeated: int
    chosen: int


def outcome_counts(
    paths: Sequence[str], metric: str, since_route: int | None = None, deployment: str | None = None
) -> tuple[OutcomeCounts, ...]:
    """What is known of the requests of each revision, by the revision that the route chose, in order of their numbers.

    Copies of requests are not counted, nor are requests whose client chose the revision.

    Arguments and errors are those of `joined_log`. Serials and numbers of several deployments would mix.
    """
    with joined_log(paths, metric, since_route=since_route, deployment=deployment, place="outcomes") as connection:
        query = _COUNTS.format(groups="assigned", further="", where="kind NOT IN ('mirrored', 'chosen')")
        return tuple(OutcomeCounts(*row) for row in connection.execute(query).fetchall())


def join_outcomes(
    paths: Sequence[str], metric: str, *, deployment: str | None = None, output: Path | None = None, place: str
) -> JoinedOutcomes:
    """Join a prediction log with its outcomes.

    Args:
        paths, metric, deployment, place: as for `joined_log`.
        output: a Parquet file to write, with a row for each prediction, its outcome and its value of the metric.

    Raises:
        InputError: as `joined_log`; there is no prediction, or none that an outcome belongs to although there are some.
        WinnowError: the files cannot be read, or the output cannot be written.
    """
    if output is not None and (output.suffix != ".parquet" or output.is_dir()):
        remedy = "Name it joined.parquet, for example."
        raise InputError(next_flag("output"), expected="a file *.parquet to write", found=f"'{output}'", remedy=remedy)
    with joined_log(paths, metric, deployment=deployment, place=place) as connection:
        unknown, known, corrected = connection.execute(
            "SELECT count(*) FILTER (WHERE p.request_id IS NULL), count(p.request_id), count(*) FILTER (is_corrected)"
            ' FROM outcomes LEFT JOIN (SELECT DISTINCT request_id, "row" FROM predictions) p USING (request_id, "row")'
        ).fetchall()[0]
        repeated, chosen, predictions = connection.execute(
            "SELECT count(*) FILTER (copies > 1 AND kind <> 'fallback'),"
            " count(DISTINCT request_id) FILTER (kind = 'chosen'), count(*) FROM predictions"
        ).fetchall()[0]
        _check_known(place, deployment, predictions, known, unknown)
        groups, further = "deployment, assigned, is_mirrored", ", max(version), count(*) FILTER (is_fallback)"
        query = _COUNTS.format(groups=groups, further=further, where="kind <> 'chosen'")
        rows = connection.execute(query).fetchall()
        if output is not None:
            _write(connection, output)
    revisions = []
    for name, assigned, is_mirrored, *sums, version, fallbacks in rows:
        counts = OutcomeCounts(assigned, *sums)
        estimate, interval = counts.total / counts.outcomes if counts.outcomes else None, mean_interval(counts, metric)
        found = RevisionOutcomes(name, version or "", is_mirrored, fallbacks, counts, estimate, interval)
        revisions.append(found)
    return JoinedOutcomes(metric, tuple(revisions), unknown, corrected, repeated, chosen)


def mean_interval(counts: OutcomeCounts, metric: str) -> tuple[float | None, float | None]:
    """An interval that contains the mean of the metric with probability 0.95, for a single look.

    For right and wrong classes it is Wilson's ("Probable inference, the law of succession, and statistical inference",
    1927), else the normal one, open below two outcomes.
    """
    n, mean = counts.outcomes, counts.total / max(counts.outcomes, 1)
    if metric == "accuracy" and n and counts.total == counts.square_total:  # every request is right or wrong as a whole
        found = binomtest(round(counts.total), n).proportion_ci(CONFIDENCE, "wilson")
        return float(found.low), float(found.high)
    if n < 2:
        return None, None
    variance = max(counts.square_total - n * mean**2, 0.0) / (n - 1)
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(variance / n)
    return mean - half, mean + half


@contextmanager
def joined_log(
    paths: Sequence[str],
    metric: str,
    *,
    since_route: int | None = None,
    since: float | None = None,
    deployment: str | None = None,
    place: str,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables `predictions` and `outcomes`, and the view `joined`, while the context is open.

    `joined` has a line for each predicted row: that of the prediction, `outcome`, `outcome_time`, and `value`, of the
    metric; the last three are null where no outcome is known.

    Args:
        paths: as `log_files.local_files`.
        metric: an `OutcomeMetric`.
        since_route: `Route.serial`: leave out predictions of earlier routes; None: of none, also without a router.
        since: leave out predictions before it, in seconds since the epoch.
        deployment: its name; None: all.
        place: what errors about the paths name.

    Raises:
        InputError: there is no such metric, no file, or outcomes have no value of the metric.
        WinnowError: the files cannot be read.
    """
    if metric not in METRICS:
        remedy = did_you_mean(metric, METRICS) or "Choose one of them."
        raise InputError("metric", expected=f"one of {', '.join(METRICS)}", found=f"'{metric}'", remedy=remedy)
    with open_log(paths, place) as connection:
        chosen = {"since_route": since_route, "since": since, "deployment": deployment}
        connection.execute(_PREDICTIONS, chosen)
        connection.execute(_OUTCOMES)
        connection.execute(_JOINED.format(value=_VALUES[metric]))
        _check_values(connection, metric)
        yield connection


@contextmanager
def open_log(paths: Sequence[str], place: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view `lines`, of all lines of the log, while the context is open.

    Raises:
        InputError: there is no file.
        WinnowError: the files cannot be read.
    """
    with local_files(paths, place) as files, tempfile.TemporaryDirectory(prefix="winnow-outcomes-") as folder:
        connection = duckdb.connect(
            str(Path(folder) / "joined.duckdb"),
            config={"memory_limit": MEMORY_LIMIT, "temp_directory": folder, "autoinstall_known_extensions": False},
        )
        try:
            names = "[" + ", ".join("'" + each.replace("'", "''") + "'" for each in files) + "]"
            connection.execute(_LINES.format(files=names, longest=LONGEST_LINE))
            yield connection
        except duckdb.Error as error:
            raise WinnowError(f"{place}: the prediction log cannot be read: {str(error).splitlines()[0]}") from error
        finally:
            connection.close()


def _check_values(connection: duckdb.DuckDBPyConnection, metric: str) -> None:
    """Raise where outcomes are known, and none of them has a value of the metric."""
    known, valued, example = connection.execute(
        "SELECT count(outcome), count(value), any_value(outcome) FROM joined WHERE outcome IS NOT NULL"
    ).fetchall()[0]
    if known and not valued:
        expected = f"outcomes that are numbers{'' if metric == 'value' else ', and predictions that are'}, for {metric}"
        remedy = "Choose another metric: accuracy is that of classes."
        raise InputError("metric", expected=expected, found=str(example)[:60], remedy=remedy)


def _check_known(place: str, deployment: str | None, predictions: int, known: int, unknown: int) -> None:
    if not predictions:
        remedy = "Switch the log on with `serving.log`, and name the files that the servers' lines are in."
        whose = "" if deployment is None else f" of deployment '{deployment}'"
        raise InputError(place, expected=f"lines of logged predictions{whose}", found="none", remedy=remedy)
    if unknown and not known:
        raise InputError(
            place,
            expected="outcomes of logged predictions",
            found=f"{unknown} outcomes, none for a request in the log",
            remedy="Send the request_id of the answer (or the header x-request-id), and read all files of the log.",
        )


def _write(connection: duckdb.DuckDBPyConnection, output: Path) -> None:
    columns = (
        'deployment, revision, route, assigned, kind, model, version, request_id, "row", time,'
        " prediction ->> '$' AS prediction, probability, CAST(fields AS VARCHAR) AS fields,"
        " outcome ->> '$' AS outcome, outcome_time, value"
    )
    try:
        with replacing(output) as draft:
            query = f"COPY (SELECT {columns} FROM joined ORDER BY time) TO ? (FORMAT parquet)"
            connection.execute(query, [str(draft)])
    except (OSError, duckdb.IOException) as error:
        raise WinnowError(f"{output}: cannot be written: {str(error).splitlines()[0]}") from error

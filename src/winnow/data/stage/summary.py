"""What a table holds: types, missing values, distributions, correlations, and columns that may know the answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from winnow.data.stage.violations import ROW, quoted, types_of

BINS = 20
TOP = 8
MOST_CORRELATED = 60
"""Numbers between which correlations are computed: the first ones."""
SHOWN_PAIRS = 20
CORRELATED = 0.5
SUSPECT = 0.95
"""From this share of what can be known about the target on, a column alone is a suspect."""
FEW_CLASSES = 20
ROWS_PER_VALUE = 5


@dataclass(frozen=True)
class ColumnSummary:
    """The values of a column.

    Attributes:
        type: DuckDB's.
        missing: rows without a value.
        distinct: about how many different values there are.
        low, high, mean, deviation, median: of a number; `low` and `high` of a date, as texts.
        bins: counts between `low` and `high` in parts of equal width, of a number.
        top: the most frequent values with their counts, of other columns.
    """

    name: str
    type: str
    missing: int
    distinct: int
    low: float | str | None = None
    high: float | str | None = None
    mean: float | None = None
    deviation: float | None = None
    median: float | None = None
    bins: tuple[int, ...] = ()
    top: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Suspect:
    """A column that alone says nearly what the target is, as one that is known only later does.

    Attributes:
        column: its name.
        known: share of the target's variance, or of the errors of always saying the most frequent class, that the
            column explains: 1 is all.
    """

    column: str
    known: float


@dataclass(frozen=True)
class Summary:
    """What a table holds.

    Attributes:
        rows: how many.
        columns: each of them.
        target: the column to predict; None where the table does not have it.
        correlations: pairs of numbers with Pearson's coefficient, the strongest first.
        suspects: columns that may know the target beforehand, the strongest first.
    """

    rows: int
    columns: tuple[ColumnSummary, ...]
    correlations: tuple[tuple[str, str, float], ...]
    suspects: tuple[Suspect, ...]
    target: str | None


def summarize(connection: duckdb.DuckDBPyConnection, target: str | None, dropped: Collection[str] = ()) -> Summary:
    """Summarize the view `typed`, which `find_violations` leaves behind.

    Args:
        target: the column to predict, if the table has it.
        dropped: columns that no model gets, and that are no suspects.
    """
    # Texts are turned into their types once, and not for each column.
    connection.execute(f"CREATE OR REPLACE TABLE summarized AS SELECT * EXCLUDE ({quoted(ROW)}) FROM typed")
    types = types_of(connection, "summarized")
    target = target if target in types else None
    rows = int(connection.execute("SELECT count(*) FROM summarized").fetchall()[0][0])
    columns = tuple(_column(connection, name, kind) for name, kind in types.items())
    numbers = [each.name for each in columns if each.bins][:MOST_CORRELATED]
    kept = [each for each in columns if each.name == target or each.name not in dropped]
    suspects = () if target is None else _suspects(connection, kept, target)
    return Summary(rows, columns, _correlations(connection, numbers), suspects, target)


def is_number(kind: str) -> bool:
    """Whether a type of DuckDB is one of numbers."""
    return kind.endswith("INT") or kind in ("INTEGER", "DOUBLE", "FLOAT") or kind.startswith("DECIMAL")


def _column(connection: duckdb.DuckDBPyConnection, name: str, kind: str) -> ColumnSummary:
    column = quoted(name)
    missing, distinct = connection.execute(
        f"SELECT count(*) - count({column}), approx_count_distinct({column}) FROM summarized"
    ).fetchall()[0]
    if is_number(kind):
        number = f"CAST({column} AS DOUBLE)"
        low, high, mean, deviation, median = connection.execute(
            f"SELECT min({number}), max({number}), avg({number}), stddev_samp({number}), "
            f"approx_quantile({number}, 0.5) FROM summarized WHERE isfinite({number})"
        ).fetchall()[0]
        bins = () if low is None else _bins(connection, number, low, high)
        return ColumnSummary(name, kind, missing, distinct, low, high, mean, deviation, median, bins)
    ends: Sequence[Any] = (None, None)
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        query = f"SELECT min({column})::VARCHAR, max({column})::VARCHAR FROM summarized"
        ends = connection.execute(query).fetchall()[0]
    top = connection.execute(
        f"SELECT left({column}::VARCHAR, 60), count(*) FROM summarized WHERE {column} IS NOT NULL "
        f"GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {TOP}"
    ).fetchall()
    return ColumnSummary(name, kind, missing, distinct, ends[0], ends[1], top=tuple((v, n) for v, n in top))


def _bins(connection: duckdb.DuckDBPyConnection, number: str, low: float, high: float) -> tuple[int, ...]:
    width = (high - low) / BINS
    place = f"least({BINS - 1}, floor(({number} - {low!r}) / {width!r}))::INTEGER" if width > 0 else "0"
    found = dict(
        connection.execute(f"SELECT {place}, count(*) FROM summarized WHERE isfinite({number}) GROUP BY 1").fetchall()
    )
    return tuple(found.get(index, 0) for index in range(BINS if width > 0 else 1))


def _correlations(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> tuple[tuple[str, str, float], ...]:
    pairs = [(one, other) for index, one in enumerate(names) for other in names[index + 1 :]]
    if not pairs:
        return ()
    # One pass for all pairs. Infinite values have no correlation.
    numbers = ", ".join(
        f"CASE WHEN isfinite(CAST({quoted(name)} AS DOUBLE)) THEN CAST({quoted(name)} AS DOUBLE) END AS c{index}"
        for index, name in enumerate(names)
    )
    places = {name: f"c{index}" for index, name in enumerate(names)}
    coefficients = ", ".join(f"corr({places[one]}, {places[other]})" for one, other in pairs)
    found = connection.execute(f"SELECT {coefficients} FROM (SELECT {numbers} FROM summarized)").fetchall()[0]
    known = [
        (*pair, float(value))
        for pair, value in zip(pairs, found, strict=True)
        if value is not None and math.isfinite(value) and abs(value) >= CORRELATED
    ]
    return tuple(sorted(known, key=lambda each: -abs(each[2]))[:SHOWN_PAIRS])


def _suspects(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[ColumnSummary], target: str
) -> tuple[Suspect, ...]:
    answer = next(each for each in columns if each.name == target)
    is_measured = bool(answer.bins) and answer.distinct > FEW_CLASSES
    others = [each for each in columns if each.name != target]
    known = [(each.name, _known(connection, each, target, is_measured=is_measured)) for each in others]
    found = [Suspect(name, share) for name, share in known if share is not None and share >= SUSPECT]
    return tuple(sorted(found, key=lambda each: -each.known))


def _known(
    connection: duckdb.DuckDBPyConnection, column: ColumnSummary, target: str, *, is_measured: bool
) -> float | None:
    """How much of the target a column explains; None where the target has one value.

    Its parts are its values, or bins of equally many rows; a missing value is a part, too. Of texts that hardly repeat
    only whether they are missing counts: each would be right by chance.
    """
    name, answer = quoted(column.name), quoted(target)
    rows = int(connection.execute(f"SELECT count(*) FROM summarized WHERE {answer} IS NOT NULL").fetchall()[0][0])
    if (column.bins or column.low is not None) and column.distinct > BINS:
        bins = BINS if rows < 5 * BINS * ROWS_PER_VALUE else 5 * BINS
        part = f"CASE WHEN {name} IS NOT NULL THEN ntile({bins}) OVER (ORDER BY {name}) END"
    elif column.distinct * ROWS_PER_VALUE > rows:
        part = f"{name} IS NULL"
    else:
        part = name
    parts = f"(SELECT {part} AS part, {answer} AS answer FROM summarized WHERE {answer} IS NOT NULL)"
    if is_measured:
        query = f"""
            SELECT 1 - sum(n * v) / nullif(any_value(whole), 0) FROM (
                SELECT count(*) AS n, var_pop(CAST(answer AS DOUBLE)) AS v FROM {parts} GROUP BY part
            ), (SELECT count(*) * var_pop(CAST(answer AS DOUBLE)) AS whole FROM {parts})"""
    else:
        query = f"""
            SELECT (sum(most) - any_value(base)) / nullif(any_value(n) - any_value(base), 0) FROM (
                SELECT max(n) AS most FROM (SELECT part, answer, count(*) AS n FROM {parts} GROUP BY part, answer)
                GROUP BY part
            ), (SELECT max(n) AS base, sum(n) AS n FROM (SELECT count(*) AS n FROM {parts} GROUP BY answer))"""
    known = connection.execute(query).fetchall()[0][0]
    return None if known is None else float(known)

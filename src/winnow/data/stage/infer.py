"""A first schema from the rows of a table, for people to correct: it says what is so, not what must be so."""

from __future__ import annotations

from typing import Any

import duckdb

from winnow.bundle.columns import MISSING
from winnow.data.stage.schema import Check, ColumnSchema, TableSchema
from winnow.data.stage.violations import literal, quoted, types_of

MOST_CATEGORIES = 20
ROWS_PER_CATEGORY = 2
_FORMS = {
    # A zero before other digits is part of a code, which a number would lose.
    "int64": "-?(0|[1-9][0-9]{0,17})",
    "float64": r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]+)?",
    "bool": "(?i)true|false",
    "date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "datetime64[us]": "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(Z|[+-][0-9:]+)?",
}
_SQL = {"int64": "BIGINT", "float64": "DOUBLE", "bool": "BOOLEAN", "date": "DATE", "datetime64[us]": "TIMESTAMPTZ"}
_PLAIN = {
    **{"TINYINT": "int8", "SMALLINT": "int16", "INTEGER": "int32", "BIGINT": "int64"},
    **{"UTINYINT": "uint8", "USMALLINT": "uint16", "UINTEGER": "uint32", "UBIGINT": "uint64"},
    **{"DOUBLE": "float64", "FLOAT": "float64", "BOOLEAN": "bool", "DATE": "date"},
}


def infer_schema(connection: duckdb.DuckDBPyConnection, missing: tuple[str, ...] = ()) -> TableSchema:
    """The types, missing values, ranges, categories and uniqueness of the columns of the view `given`.

    Args:
        missing: texts that stand for a missing value besides the usual ones.
    """
    kinds = types_of(connection)
    return TableSchema(tuple(_column(connection, name, kind, missing) for name, kind in kinds.items()))


def _column(connection: duckdb.DuckDBPyConnection, name: str, kind: str, missing: tuple[str, ...]) -> ColumnSchema:
    column = quoted(name)
    texts = ", ".join(map(literal, sorted(MISSING | set(missing))))
    is_text = kind == "VARCHAR" or kind.startswith("ENUM")
    absent = f"{column} IS NULL" + (f" OR {column} IN ({texts})" if is_text else "")
    absent += f" OR isnan({column})" if kind in ("DOUBLE", "FLOAT") else ""
    dtype = _PLAIN.get(kind)
    if is_text:
        dtype = _text_dtype(connection, column, absent)
    elif kind.startswith(("DECIMAL", "TIMESTAMP")):
        dtype = kind.lower() if kind.startswith("DECIMAL") else "datetime64[us]"
    value = f"TRY_CAST({column} AS {_SQL[dtype]})" if is_text and dtype in _SQL else column
    if dtype is not None and dtype.startswith("datetime"):
        value = f"TRY_CAST({value} AS TIMESTAMP)"
    rows, gone, distinct = connection.execute(
        f"SELECT count(*), count(*) FILTER ({absent}), count(DISTINCT {value}) FILTER (NOT ({absent})) FROM given"
    ).fetchall()[0]
    there = rows - gone
    is_measured = dtype is not None and dtype.startswith(("float", "decimal"))
    is_unique = there > 1 and distinct == there and not gone and not is_measured
    checks: tuple[Check, ...] = ()
    if there and not is_unique and dtype is not None and dtype != "bool":
        checks = _checks(connection, value, absent, dtype, there, distinct)
    return ColumnSchema(name, dtype, bool(gone), is_unique, checks=checks)


def _text_dtype(connection: duckdb.DuckDBPyConnection, column: str, absent: str) -> str:
    """The narrowest dtype that all texts have."""
    fits = ", ".join(
        f"bool_and(regexp_full_match({column}, {literal(form)}) AND TRY_CAST({column} AS {_SQL[dtype]}) IS NOT NULL)"
        for dtype, form in _FORMS.items()
    )
    found = connection.execute(f"SELECT {fits} FROM given WHERE NOT ({absent})").fetchall()[0]
    return next((dtype for dtype, is_so in zip(_FORMS, found, strict=True) if is_so), "str")


def _checks(
    connection: duckdb.DuckDBPyConnection, value: str, absent: str, dtype: str, there: int, distinct: int
) -> tuple[Check, ...]:
    if dtype == "str":
        if distinct > MOST_CATEGORIES or there < ROWS_PER_CATEGORY * distinct:
            return ()
        found = connection.execute(f"SELECT DISTINCT {value} FROM given WHERE NOT ({absent}) ORDER BY 1").fetchall()
        return (Check("isin", [str(each) for (each,) in found]),)
    low, high = connection.execute(f"SELECT min({value}), max({value}) FROM given WHERE NOT ({absent})").fetchall()[0]
    return (Check("in_range", {"min_value": _plain(low, dtype), "max_value": _plain(high, dtype)}),)


def _plain(value: Any, dtype: str) -> Any:
    """A bound as YAML has it."""
    if dtype.startswith("date"):
        return value.isoformat()
    return value if isinstance(value, int) else float(value)

"""One type for each kind of value, so that engines with types of their own agree on rows."""

from __future__ import annotations

from winnow.data.stage.violations import quoted

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def canonical(name: str, kind: str, *, has_wide_decimals: bool = True) -> str | None:
    """A column in its canonical type, in DuckDB's SQL; None for a kind of value that no training table has.

    Whole numbers become int64 (an error where one does not fit), floats float64 without NaN and -0.0, times
    timestamp[us] in UTC without a zone, texts strings, and decimals decimal(38, S).

    Args:
        kind: DuckDB's type.
        has_wide_decimals: whether decimals get 38 digits; otherwise they stay as they are.
    """
    column = quoted(name)
    if kind in _WHOLE or kind.removeprefix("U") in _WHOLE:
        return f"CAST({column} AS BIGINT)"
    if kind in ("DOUBLE", "FLOAT"):
        return f"CASE WHEN isnan({column}) THEN NULL ELSE CAST({column} AS DOUBLE) + 0.0 END"
    if kind.startswith("DECIMAL"):
        scale = kind.rstrip(")").rpartition(",")[2]
        return f"CAST({column} AS DECIMAL(38,{scale}))" if has_wide_decimals else column
    if kind.startswith("TIMESTAMP"):
        return f"CAST({column} AS TIMESTAMP)"
    if kind.startswith("ENUM") or kind == "UUID":
        return f"CAST({column} AS VARCHAR)"
    return column if kind in ("VARCHAR", "BOOLEAN", "DATE") else None

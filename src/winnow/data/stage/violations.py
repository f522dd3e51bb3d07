"""Finds the rows of a table that violate its schema, with DuckDB: one pass counts for all rules but uniqueness."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from winnow.bundle.columns import MISSING
from winnow.config.errors import InputError
from winnow.data.stage.schema import COMPARISONS, Check, ColumnSchema, TableSchema

if TYPE_CHECKING:
    from collections.abc import Collection

ROW = "winnow row"
"""The column of row numbers, from 1, in the views that `winnow.data.stage.rows` opens."""
SHOWN_ROWS = 5
SHOWN_RULES = 3
SHOWN_CHARACTERS = 60
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")


@dataclass(frozen=True)
class Violation:
    """A rule of the schema that rows violate.

    Attributes:
        column: its name; several, separated by commas, for rules of several; "" for conditions in SQL.
        rule: such as `dtype: int64` or `in_range: 0 to 120`.
        count: how many rows violate it.
        rows: the numbers of the first ones, from 1; none where the column is not there, or should not be.
        example: the value in the first row, as text; None where it is missing.
    """

    column: str
    rule: str
    count: int
    rows: tuple[int, ...] = ()
    example: str | None = None


@dataclass(frozen=True)
class _Rule:
    """A condition in SQL that holds for the rows that violate it."""

    column: str
    rule: str
    violated: str
    shown: str


def find_violations(
    connection: duckdb.DuckDBPyConnection, schema: TableSchema, missing: Collection[str] = ()
) -> tuple[Violation, ...]:
    """What violates the schema among the rows of the view `given`, in the schema's order.

    Leaves a view `typed` behind: the columns in the types of the schema.

    Args:
        missing: texts that stand for a missing value besides the usual ones.

    Raises:
        InputError: a condition in SQL is not one over the columns.
    """
    types = types_of(connection)
    rows = int(connection.execute("SELECT count(*) FROM given").fetchall()[0][0])
    typed = type_columns(connection, schema, missing)
    declared = {each.name for each in schema.columns}
    absent = [each for each in schema.columns if each.name not in types]
    found = [Violation(each.name, "required", rows) for each in absent if each.required]
    if schema.strict:
        found += [Violation(name, "strict: not in the schema", rows) for name in types if name not in declared]
    rules = [rule for each in schema.columns if each.name in types for rule in _rules(each, typed[each.name])]
    try:
        found += _violated(connection, "present", rules)
    except duckdb.Error as error:
        raise InputError(
            schema.place,
            expected="checks that can be made",
            found=f"'{str(error).splitlines()[0]}'",
            remedy="Correct the pattern or the value; patterns are those of RE2.",
        ) from error
    groups = [(each.name,) for each in schema.columns if each.unique] + list(schema.unique)
    found += [each for group in groups if set(group) <= set(types) for each in _repeated(connection, group)]
    return (*found, *_conditions(connection, schema))


def refuse_violations(violations: Sequence[Violation], schema: TableSchema, rows: str, remedy: str) -> None:
    """Refuse rows that violate a schema, with the first rules and rows."""
    if not violations:
        return
    lines = []
    for each in violations[:SHOWN_RULES]:
        column = f" of '{each.column}'" if each.column else ""
        numbers = ", ".join(map(str, each.rows)) + (", …" if each.count > len(each.rows) else "")
        first = f"; the first is '{each.example}'" if each.example is not None else ""
        where = f" ({numbers}{first})" if each.rows else ""
        noun = "row" if each.count == 1 else "rows"
        lines.append(f"violations of '{each.rule}'{column} in {each.count:,} {noun}{where}")
    more = f"; and {len(violations) - SHOWN_RULES} more rules" if len(violations) > SHOWN_RULES else ""
    raise InputError(schema.place, expected=f"{rows} that fit it", found="; ".join(lines) + more, remedy=remedy)


def type_columns(
    connection: duckdb.DuckDBPyConnection, schema: TableSchema, missing: Collection[str] = ()
) -> dict[str, str]:
    """Make the views `present`, without values that stand for missing ones, and `typed`, in the types of the schema.

    They have the columns of the view `given`, and its row numbers if there are some.

    Args:
        missing: texts that stand for a missing value besides the usual ones.

    Returns:
        How each column of `present` becomes that of `typed`, in SQL.
    """
    types, declared = types_of(connection), {each.name: each for each in schema.columns}
    present = {name: _present(name, kind, schema, missing) for name, kind in types.items()}
    typed = {name: _typed(name, kind, declared.get(name)) for name, kind in types.items()}
    numbered = any(name == ROW for name, *_ in connection.execute("DESCRIBE given").fetchall())
    for view, columns, source in (("present", present, "given"), ("typed", typed, "present")):
        selected = f"{quoted(ROW)}, {_as_columns(columns)}" if numbered else _as_columns(columns)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT {selected} FROM {source}")
    return typed


def types_of(connection: duckdb.DuckDBPyConnection, view: str = "given") -> dict[str, str]:
    """DuckDB's types of the columns of a view, by name."""
    described = connection.execute(f"DESCRIBE {view}").fetchall()
    return {str(name): str(kind) for name, kind, *_ in described if name != ROW}


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A value in SQL."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE)"  # 0.1 alone is a decimal, which may become another double
    return repr(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _as_columns(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} AS {quoted(name)}" for name, expression in expressions.items())


def _present(name: str, kind: str, schema: TableSchema, missing: Collection[str]) -> str:
    """The column, null where a value is missing: also NaN, and texts that stand for it unless they are a category."""
    column = quoted(name)
    if kind in ("DOUBLE", "FLOAT"):
        return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END"
    if kind != "VARCHAR":
        return column
    categories = {
        str(value)
        for each in schema.columns
        if each.name == name
        for check in each.checks
        if check.name == "isin"
        for value in check.value
    }
    texts = sorted((MISSING | set(missing)) - categories)
    return f"CASE WHEN {column} IN ({', '.join(map(literal, texts))}) THEN NULL ELSE {column} END"


def _typed(name: str, kind: str, schema: ColumnSchema | None) -> str:
    """The column in the type of the schema; null where a value has another. Nothing is rounded or cut off."""
    column, wanted = quoted(name), None if schema is None else schema.sql_type
    is_text = kind == "VARCHAR" or kind.startswith("ENUM")
    is_number = kind in _WHOLE or kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL")
    if wanted is None or wanted == kind:
        return column
    cast = f"TRY_CAST({column} AS {wanted})"
    if wanted == "VARCHAR":
        return cast if is_text else "NULL"
    if is_text:
        forms = {"BOOLEAN": "(?i)true|false", "DATE": "[0-9]{4}-[0-9]{2}-[0-9]{2}", "DOUBLE": r"[^_]+"}
        form = "[+-]?[0-9]+" if wanted in _WHOLE else forms.get(wanted)
        if wanted.startswith("DECIMAL"):
            scale = wanted.rstrip(")").partition(",")[2]
            form = rf"[+-]?[0-9]+(\.[0-9]{{0,{scale}}}0*)?"
        instant = f"TRY_CAST(TRY_CAST({column} AS TIMESTAMPTZ) AS TIMESTAMP)" if wanted == "TIMESTAMP" else cast
        return instant if form is None else f"CASE WHEN regexp_full_match(trim({column}), '{form}') THEN {cast} END"
    if wanted in _WHOLE or wanted == "DOUBLE" or wanted.startswith("DECIMAL"):
        return f"CASE WHEN {cast} = {column} THEN {cast} END" if is_number else "NULL"
    if wanted == "DATE" and kind.startswith("TIMESTAMP"):
        return f"CASE WHEN {cast} = {column} THEN {cast} END"
    return cast if wanted == "TIMESTAMP" and (kind == "DATE" or kind.startswith("TIMESTAMP")) else "NULL"


def _rules(schema: ColumnSchema, typed: str) -> Iterator[_Rule]:
    column = quoted(schema.name)
    if not schema.nullable:
        yield _Rule(schema.name, "nullable: false", f"{column} IS NULL", "NULL")
    if schema.dtype is not None:
        yield _Rule(schema.name, f"dtype: {schema.dtype}", f"{column} IS NOT NULL AND {typed} IS NULL", column)
    for check in schema.checks:
        accepted, shown = _accepted(check, typed, schema.sql_type)
        yield _Rule(schema.name, f"{check.name}: {shown}", f"NOT ({accepted})", column)


def _accepted(check: Check, column: str, kind: str | None) -> tuple[str, str]:
    """A check as a condition in SQL, and its value for people."""
    name, value = check.name, check.value
    if name in COMPARISONS:
        return f"{column} {COMPARISONS[name]} {_bound(value, kind)}", f"{value}"
    if name in ("isin", "notin"):
        negated = "NOT " if name == "notin" else ""
        shown = ", ".join(map(str, value[:8])) + (", …" if len(value) > 8 else "")
        return f"{column} {negated}IN ({', '.join(_bound(each, kind) for each in value)})", shown
    if name in ("in_range", "str_length"):
        exact = value.get("exact_value")
        low, high = (value.get("min_value"), value.get("max_value")) if exact is None else (exact, exact)
        measured, bound = (f"length({column})", None) if name == "str_length" else (column, kind)
        signs = (">=" if value.get("include_min", True) else ">", "<=" if value.get("include_max", True) else "<")
        ends = [(sign, end) for sign, end in zip(signs, (low, high), strict=True) if end is not None]
        accepted = " AND ".join(f"{measured} {sign} {_bound(end, bound)}" for sign, end in ends)
        return accepted, " and ".join(f"{sign} {end}" for sign, end in ends)
    text = literal(value)
    # Pandera matches from the start, as Python's re.match does.
    functions = {
        "str_matches": f"regexp_matches({column}, {literal(f'^(?:{value})')})",
        "str_contains": f"regexp_matches({column}, {text})",
        "str_startswith": f"starts_with({column}, {text})",
        "str_endswith": f"suffix({column}, {text})",
    }
    return functions[name], f"{value}"


def _bound(value: Any, kind: str | None) -> str:
    """A value to compare with, in the column's type where a text stands for a time or date; decimals stay exact."""
    if kind is not None and kind.startswith("DECIMAL") and isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return f"CAST({literal(value)} AS {kind})" if kind in ("DATE", "TIMESTAMP", "VARCHAR") else literal(value)


def _violated(connection: duckdb.DuckDBPyConnection, view: str, rules: Sequence[_Rule]) -> Iterator[Violation]:
    """What violates the rules. Rows are looked for where there are any: to number all takes longer than to count."""
    if not rules:
        return
    counts = ", ".join(f"count(*) FILTER ({rule.violated})" for rule in rules)
    counted = zip(rules, connection.execute(f"SELECT {counts} FROM {view}").fetchall()[0], strict=True)
    found = [(rule, count) for rule, count in counted if count]
    if not found:
        return
    row = quoted(ROW)
    parts = [
        f"min({row}, {SHOWN_ROWS}) FILTER ({rule.violated}), "
        f"arg_min(CAST({rule.shown} AS VARCHAR), {row}) FILTER ({rule.violated})"
        for rule, _ in found
    ]
    result = connection.execute(f"SELECT {', '.join(parts)} FROM {view}").fetchall()[0]
    for index, (rule, count) in enumerate(found):
        rows, example = result[2 * index : 2 * index + 2]
        yield Violation(rule.column, rule.rule, count, tuple(rows), _short(example))


def _repeated(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Iterator[Violation]:
    """Rows that repeat the values of an earlier one; a row with a missing value repeats none."""
    names, row = ", ".join(map(quoted, columns)), quoted(ROW)
    there = " AND ".join(f"{quoted(each)} IS NOT NULL" for each in columns)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE repeated AS SELECT {names} FROM typed "
        f"WHERE {there} GROUP BY {names} HAVING count(*) > 1"
    )
    if not connection.execute("SELECT 1 FROM repeated LIMIT 1").fetchall():
        return
    first = f'min({row}) OVER (PARTITION BY {names}) AS "winnow first"'
    count, rows, example = connection.execute(
        f"SELECT count(*), min({row}, {SHOWN_ROWS}), arg_min(concat_ws(', ', {names}), {row}) "
        f'FROM (SELECT {names}, {row}, {first} FROM typed JOIN repeated USING ({names})) WHERE {row} > "winnow first"'
    ).fetchall()[0]
    yield Violation(", ".join(columns), "unique", count, tuple(rows), _short(example))


def _conditions(connection: duckdb.DuckDBPyConnection, schema: TableSchema) -> Iterator[Violation]:
    """Rows for which a condition is false; it holds where a missing value makes it unknown, as in SQL's CHECK."""
    for name, condition in schema.checks:
        rule = _Rule("", f"{name}: {' '.join(condition.split())}", f"NOT ({condition}\n)", "NULL")
        try:
            yield from _violated(connection, "typed", [rule])
        except duckdb.Error as error:
            raise InputError(
                f"{schema.place}: checks.{name}",
                expected="a condition in SQL over the columns of the data",
                found=f"'{condition}' ({str(error).splitlines()[0]})",
                remedy='Correct it. Columns of text need a `dtype`, and names with spaces quotes: "Day of birth".',
            ) from error


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]}…"

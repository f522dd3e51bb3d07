"""Prepare rows by DuckDB, in the connection that has the table `raw`. Nothing is computed before the result is read."""

from __future__ import annotations

import duckdb

from winnow.config.errors import InputError
from winnow.config.functions import line_in, load_function
from winnow.data.stage.engines.recipe import Recipe

VERSION: str = duckdb.__version__
_CREATE = "CREATE TEMP VIEW result AS "


def create_result(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Make the view `result` of a query, or of a function's answer, over the view `raw`.

    Raises:
        InputError: the query is no query over the columns of `raw`, or the function is missing, fails or returns
            anything else than a relation.
    """
    if recipe.sql is not None:
        _create(connection, recipe.sql, recipe.place)
        return
    assert recipe.function is not None, "there is a query or a function"
    function = load_function(recipe.function, recipe.place)
    try:
        result = function(connection.view("raw"))
        if isinstance(result, duckdb.DuckDBPyRelation):
            result.create_view("result")
            return
    except Exception as error:
        raise InputError(
            recipe.place,
            expected=f"a relation of DuckDB from {recipe.function}",
            found=f"{type(error).__name__}: {error}{line_in(None, error)}",
            remedy="Correct the function.",
        ) from error
    raise InputError(
        recipe.place,
        expected=f"a relation of DuckDB from {recipe.function}",
        found=f"a value of type {type(result).__name__}",
        remedy="Return what the relation's methods return, or `relation.query(…)`.",
    )


def _create(connection: duckdb.DuckDBPyConnection, sql: str, place: str) -> None:
    try:
        statements = connection.extract_statements(sql)
        if len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT:
            connection.execute(_CREATE + sql)
            return
    except duckdb.Error as error:
        raise wrong_query(error, place) from error
    kinds = ", ".join(str(each.type).rpartition(".")[2] for each in statements)
    remedy = "Write one SELECT; use WITH for steps before it."
    raise InputError(place, expected="one query over the table `raw`", found=kinds or "nothing", remedy=remedy)


def wrong_query(error: duckdb.Error, place: str) -> InputError:
    """The error for a query that DuckDB refuses or cannot finish, with DuckDB's message and line."""
    message, _, line = str(error).partition("\n\nLINE ")
    shown = " ".join(message.split())
    number, _, text = line.partition("\n")[0].partition(": ")
    if line and not text.startswith(("COPY", "...")):
        shown += f" in line {number}: {text.removeprefix(_CREATE).strip()}"
    expected, remedy = "a query that DuckDB can run", "Correct the query."
    if isinstance(error, duckdb.OutOfMemoryException):
        expected = "a query that DuckDB can run within its memory limit"
        remedy = "Read fewer columns or windows of fewer rows, or let Spark run it (docs/data.md)."
    if isinstance(error, duckdb.PermissionException):
        remedy = "Read the table `raw` alone: other files would be missing in the data's lineage."
    return InputError(place, expected=expected, found=f"'{shown}'", remedy=remedy)

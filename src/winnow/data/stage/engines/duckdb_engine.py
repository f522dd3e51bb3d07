"""Prepare rows by DuckDB, in the connection that has the table `raw`. Nothing is computed before the result is read."""

from __future__ import annotations

import duckdb

from winnow.config.errors import InputError
from winnow.data.stage.engines import Recipe, answer_of

VERSION: str = duckdb.__version__
_CREATE = "CREATE TEMP VIEW result AS "


def create_result(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    """Make the view `result` of a query, or of a function's answer, over the view `raw`.

    Raises:
        InputError: the query is no query over the columns of `raw`, or the function is missing, fails or returns
            anything else than a relation.
    """
    try:
        if recipe.sql is None:
            remedy = "Return what the relation's methods return, or `relation.query(…)`."
            kind = duckdb.DuckDBPyRelation
            answer_of(recipe, connection.view("raw"), kind, "a relation of DuckDB", remedy).create_view("result")
            return
        statements = connection.extract_statements(recipe.sql)
        if len(statements) == 1 and statements[0].type == duckdb.StatementType.SELECT:
            connection.execute(_CREATE + recipe.sql)
            return
    except duckdb.Error as error:
        raise wrong_query(error, recipe.place) from error
    kinds = ", ".join(str(each.type).rpartition(".")[2] for each in statements)
    remedy = "Write one SELECT; use WITH for steps before it."
    raise InputError(recipe.place, expected="one query over the table `raw`", found=kinds or "nothing", remedy=remedy)


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

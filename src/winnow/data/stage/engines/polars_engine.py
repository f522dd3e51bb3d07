"""Prepare rows by Polars: a query in its SQL, or a function of a LazyFrame. Rows stream from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.functions import line_in, load_function
from winnow.data.stage.engines.recipe import Recipe

if TYPE_CHECKING:
    import polars as pl

FILE = "result.parquet"


def version(_home: Path, _environment: Mapping[str, str]) -> str:
    """The version of Polars. Raises InputError where it is not installed."""
    try:
        import polars as pl
    except ImportError as error:
        raise InputError(
            "data.prepare.engine",
            expected="an engine that is installed",
            found="polars, which is not",
            remedy="Install it: `pip install 'winnow[polars]'`.",
        ) from error
    return pl.__version__


def run(recipe: Recipe) -> None:
    """Write the result of a query or function to a folder.

    Raises:
        InputError: the query is none that Polars can run, or the function is missing, fails or returns anything else
            than a LazyFrame.
    """
    import polars as pl

    raw = pl.scan_parquet([str(file) for file in recipe.raw])
    result = _answer(recipe, raw) if recipe.sql is None else _selected(recipe.sql, recipe.place, raw)
    try:
        result.sink_parquet(recipe.output / FILE)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _wrong(error, recipe.place) from error


def _selected(sql: str, place: str, raw: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    try:
        with pl.SQLContext({"raw": raw}, eager=False) as context:
            return context.execute(sql)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _wrong(error, place) from error


def _answer(recipe: Recipe, raw: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl

    assert recipe.function is not None, "there is a query or a function"
    function = load_function(recipe.function, recipe.place)
    expected = f"a LazyFrame of Polars from {recipe.function}"
    try:
        result = function(raw)
    except Exception as error:
        found = f"{type(error).__name__}: {error}{line_in(None, error)}"
        raise InputError(recipe.place, expected=expected, found=found, remedy="Correct the function.") from error
    if not isinstance(result, pl.LazyFrame):
        found, remedy = f"a value of type {type(result).__name__}", "Return what the LazyFrame's methods return."
        raise InputError(recipe.place, expected=expected, found=found, remedy=remedy)
    return result


def _wrong(error: BaseException, place: str) -> InputError:
    shown = " ".join(str(error).split("\n\nResolved plan")[0].split())
    remedy = "Correct the query or function."
    return InputError(place, expected="rows that Polars can compute", found=f"'{shown}'", remedy=remedy)

"""Prepare rows by Polars: a query in its SQL, or a function of a LazyFrame. Rows stream from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.data.stage.engines import Recipe, answer_of

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
    try:
        if recipe.sql is None:
            remedy = "Return what the LazyFrame's methods return."
            result = answer_of(recipe, raw, pl.LazyFrame, "a LazyFrame of Polars", remedy)
        else:
            with pl.SQLContext({"raw": raw}, eager=False) as context:
                result = context.execute(recipe.sql)
        result.sink_parquet(recipe.output / FILE)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        shown = " ".join(str(error).split("\n\nResolved plan")[0].split())
        remedy = "Correct the query or function."
        found = f"'{shown}'"
        raise InputError(recipe.place, expected="rows that Polars can compute", found=found, remedy=remedy) from error

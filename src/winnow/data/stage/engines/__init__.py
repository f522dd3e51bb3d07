"""What computes prepared rows: one module for each engine, with the functions of `Engine`.

DuckDB's works in the connection that has the table `raw`; the others read its rows from files and write files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from winnow.config.errors import InputError
from winnow.config.functions import line_in, load_function

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What an engine computes from the table `raw`.

    Attributes:
        sql: the query's text, in the engine's dialect; None where there is a function.
        function: `path/file.py:function` or `package.module:function`; None where there is a query. It gets the
            engine's lazy table, and returns one.
        place: the query's file or key, or the function, for messages.
        raw: Parquet files with the rows of `raw`, in any order. Types are those of the schema: whole numbers are int64,
            floats float64, times timestamp[us] in UTC without a zone, texts strings; what stands for a missing value is
            null, NaN too.
        output: an empty folder for the result: Parquet files (`*.parquet`) in any order, with rows in any order.
        temporary: a folder for what else is written; it is removed afterwards.
        memory_mib: the most memory that the engine should take.
        home: winnow's own folder, for tools in environments of their own.
        environment: variables of the process.
    """

    sql: str | None
    function: str | None
    place: str
    raw: tuple[Path, ...]
    output: Path
    temporary: Path
    memory_mib: int
    home: Path
    environment: Mapping[str, str]


class Engine(Protocol):
    """The functions of an engine's module."""

    def version(self, home: Path, environment: Mapping[str, str], /) -> str:
        """The engine's version, such as 2.1.0. Raises InputError where it is not installed. Starts nothing slow."""
        ...

    def run(self, recipe: Recipe) -> None:
        """Write the result to `recipe.output`.

        The caller casts, checks and sorts it, and removes it if this fails.

        Raises:
            InputError: the query or function is wrong (the place is `recipe.place`), or the engine cannot be reached.
        """
        ...


def answer_of(recipe: Recipe, table: Any, kind: type[T], named: str, remedy: str) -> T:
    """What the recipe's function makes of an engine's table.

    Args:
        kind, named: the type that it returns, and its name in messages.
        remedy: for another type.

    Raises:
        InputError: the function is missing, fails or returns another type.
    """
    assert recipe.function is not None, "there is a query or a function"
    function = load_function(recipe.function, recipe.place)
    expected = f"{named} from {recipe.function}"
    try:
        result = function(table)
    except Exception as error:
        found = f"{type(error).__name__}: {error}{line_in(None, error)}"
        raise InputError(recipe.place, expected=expected, found=found, remedy="Correct the function.") from error
    if not isinstance(result, kind):
        found = f"a value of type {type(result).__name__}"
        raise InputError(recipe.place, expected=expected, found=found, remedy=remedy)
    return result

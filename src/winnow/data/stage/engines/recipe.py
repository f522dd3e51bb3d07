"""What an engine of `winnow prepare` computes, and what an engine offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


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

"""Prepare rows by Polars: a query in its SQL, or a function of a LazyFrame. Both are computed in parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.data.stage.engines.recipe import Recipe


def version(_home: Path, _environment: Mapping[str, str]) -> str:
    """The version of Polars. Raises InputError where it is not installed."""
    raise NotImplementedError


def run(recipe: Recipe) -> None:
    """Write the result of a query or function to a folder. Raises InputError."""
    raise NotImplementedError

"""Prepare rows by Spark, in a process of an interpreter that has pyspark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.data.stage.engines.recipe import Recipe


def version(home: Path, environment: Mapping[str, str]) -> str:
    """The version of pyspark. Raises InputError where it is not installed."""
    raise NotImplementedError


def run(recipe: Recipe) -> None:
    """Write the result of a query or function to a folder. Raises InputError."""
    raise NotImplementedError

"""Check raw rows before anything is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.orchestrators.validate import Validation


def validate(config: Path | str, *, schema: Path | str | None = None, html: Path | str | None = None) -> Validation:
    """Check the rows of an experiment against a schema: those that were ingested, else those of `data.source`.

    Nothing is changed, and rows that violate the schema are no error: `violations` of the result has them.

    Args:
        schema: the schema file, in the form of pandera's YAML files; by default `data.schema`.
        html: a page to write about the rows: types, missing values, distributions, correlations and columns that may
            know the target beforehand. With it, a schema is not needed.

    Raises:
        InputError: there is no schema, it or the rows cannot be read, or the page cannot be written.
    """
    from winnow.config.loader import load_experiment
    from winnow.config.settings import Settings

    experiment = load_experiment(config)
    from winnow.orchestrators import validate as orchestrator

    page, file = None if html is None else Path(html), None if schema is None else Path(schema)
    return orchestrator.validate(experiment, Settings.from_environment().home, file, page)


def infer_schema(config: Path | str, *, schema: Path | str | None = None, force: bool = False) -> Path:
    """Write a first schema from the rows of an experiment, to correct by hand.

    Types, missing values, ranges, categories of at most 20 texts, and uniqueness are those of the rows.

    Args:
        schema: the file to write; by default `data.schema`, else schemas/NAME.yaml.
        force: overwrite an existing file.

    Raises:
        InputError: the file exists or cannot be written, or the rows cannot be read.
    """
    from winnow.config.loader import load_experiment
    from winnow.config.settings import Settings

    experiment = load_experiment(config)
    from winnow.orchestrators import validate as orchestrator

    file, home = None if schema is None else Path(schema), Settings.from_environment().home
    return orchestrator.infer(experiment, home, file, is_forced=force)

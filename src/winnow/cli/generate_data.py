"""`winnow generate-data`: a synthetic data set with a known answer, as a CSV or Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command("generate-data")
@click.option("--rows", type=int, default=1000, show_default=True, help="Number of rows.")
@click.option("--features", type=int, default=10, show_default=True, help="Number of feature columns.")
@click.option(
    "--informative", type=int, default=4, show_default=True, help="Number of features that influence the target."
)
@click.option("--classes", type=int, default=2, show_default=True, help="Number of classes; 0 for regression.")
@click.option("--noise", type=float, default=0.5, show_default=True, help="Size of the part that no model can predict.")
@click.option("--groups", type=int, default=0, show_default=True, help="Number of groups of similar rows; 0 for none.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("data/generated.csv"),
    show_default=True,
    help="A .csv or .parquet file; the answer is written beside it.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(output: Path, rows: int, features: int, informative: int, **options: Any) -> None:
    """Write a synthetic data set with a known answer.

    The coefficients, the noise and the best score that any model can reach are written to OUTPUT.answer.json.
    """
    from winnow import api

    made = api.generate_data(output, rows=rows, features=features, informative=informative, **options)
    click.echo(f"{output}: {rows} rows, {features} features ({informative} matter), target column 'target'")
    click.echo(f"{made.answer}: the answer; the best possible {made.metric} is {made.best_score:.3f}")

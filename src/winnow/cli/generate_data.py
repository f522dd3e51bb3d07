"""`winnow generate-data`: a synthetic data set with a known answer, as a CSV or Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from winnow.api.generation import DataKind


@click.command("generate-data")
@click.option(
    "--kind",
    type=click.Choice(get_args(DataKind)),
    default="linear",
    show_default=True,
    help="linear: numbers, with a linear answer. churn: customers, of whom a fifth leave. weather: a folder of "
    "stations' readings, a CSV file for each month. images: a folder of shapes, with a subfolder for each.",
)
@click.option("--rows", type=int, help="Number of rows; by default 1000 for linear data, 300 images, and else 2000.")
@click.option("--features", type=int, default=10, show_default=True, help="Linear data: number of feature columns.")
@click.option(
    "--informative",
    type=int,
    default=4,
    show_default=True,
    help="Linear data: number of features that influence the target.",
)
@click.option(
    "--classes", type=int, default=2, show_default=True, help="Linear data: number of classes; 0 for regression."
)
@click.option(
    "--noise",
    type=float,
    default=0.5,
    show_default=True,
    help="Linear data: size of the part that no model can predict.",
)
@click.option(
    "--groups",
    type=int,
    default=0,
    show_default=True,
    help="Linear data: number of groups of similar rows; 0 for none.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same file.")
@click.option("--drifted", is_flag=True, help="Churn: rows after a price rise, which changed columns and answers.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A .csv or .parquet file, by default data/generated.csv for linear data, and data/churn.csv; a folder for "
    "images and weather, by default data/KIND. The answer is written beside it.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(**options: Any) -> None:
    """Write a synthetic data set with a known answer.

    What the target depends on, and the best score that any model can reach, are written to OUTPUT.answer.json.
    """
    from winnow import api

    made = api.generate_data(**options)
    what = {
        "images": "images, a subfolder for each shape",
        "weather": f"readings, a CSV file for each month; '{made.target}' is to be prepared from them",
    }.get(options["kind"], f"rows, target column '{made.target}'")
    click.echo(f"{made.path}: {made.rows} {what}")
    click.echo(f"{made.answer}: the answer; the best possible {made.metric} is {made.best_score:.3f}")

"""`winnow generate-data`: a synthetic data set with a known answer, to a CSV or Parquet file."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("generate-data")
@click.option("--rows", type=int, default=1000, show_default=True, help="Number of rows.")
@click.option("--features", type=int, default=10, show_default=True, help="Number of feature columns.")
@click.option("--informative", type=int, default=4, show_default=True, help="How many of the features matter.")
@click.option("--classes", type=int, default=2, show_default=True, help="Number of classes; 0: regression.")
@click.option("--noise", type=float, default=0.5, show_default=True, help="Size of what no model can predict.")
@click.option("--groups", type=int, default=0, show_default=True, help="Number of groups of similar rows; 0: none.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same file.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("data/generated.csv"),
    show_default=True,
    help="A .csv or .parquet file; the answer goes beside it.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def command(
    rows: int,
    features: int,
    informative: int,
    classes: int,
    noise: float,
    groups: int,
    seed: int,
    output: Path,
    force: bool,
) -> None:
    """Write a synthetic data set with a known answer.

    The coefficients, the noise and the best score that any model can reach are written beside it, to
    OUTPUT.answer.json.
    """
    from winnow import api

    made = api.generate_data(
        output,
        rows=rows,
        features=features,
        informative=informative,
        classes=classes,
        noise=noise,
        groups=groups,
        seed=seed,
        force=force,
    )
    click.echo(f"{output}: {rows} rows, {features} features ({informative} matter), target column 'target'")
    click.echo(f"{made.answer}: the answer; the best possible {made.metric} is {made.best_score:.3f}")

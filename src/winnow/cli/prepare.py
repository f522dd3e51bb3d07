"""`winnow prepare`: the rows that are trained on, from raw data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import config_option, dry_run_option, json_option
from winnow.cli.wording import as_text

if TYPE_CHECKING:
    from winnow.api import Preparation
    from winnow.config.experiment import Engine


@click.command("prepare")
@config_option
@click.option(
    "--engine", type=click.Choice(["duckdb", "polars", "spark"]), help="What computes the rows; by default the file's."
)
@click.option(
    "--spark-master",
    metavar="URL",
    help="Where Spark computes: local[*], spark://HOST:PORT or k8s://https://HOST:PORT; by default SPARK_MASTER.",
)
@dry_run_option
@json_option
def command(config: Path, engine: Engine | None, spark_master: str | None, dry_run: bool, as_json: bool) -> None:
    """Compute the rows of `source: prepared` from raw data, by the query or function that `data.prepare` names.

    Inputs that have not changed compute nothing, and a query that fails leaves the current version.
    """
    from winnow import api

    found = api.prepare(config, engine=engine, spark_master=spark_master, dry_run=dry_run)
    click.echo(as_text(found) if as_json else "\n".join(preparation_lines(found)))


def preparation_lines(found: Preparation) -> list[str]:
    """What was computed and which version it made, as lines for people."""
    inputs = f"raw version {found.inputs.raw} by {found.inputs.engine}"
    if found.state == "planned":
        lines = [f"would be computed: {inputs}"]
    else:
        lines = [f"computed: {inputs}" if found.state == "new" else f"nothing has changed: {inputs}"]
    if found.prepared is None:
        return lines
    word = {"new": "new version", "unchanged": "version", "planned": "current version"}[found.state]
    made = found.prepared
    lines.append(f"{word} {made.version}: {made.rows} rows, {len(made.columns)} columns")
    lines += [f"  {column.name}: {column.type}" for column in made.columns]
    return [*lines, f"  in {found.path}", *found.notes]

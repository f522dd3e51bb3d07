"""Verbs on data: make, version, ingest, validate and prepare them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from winnow.api.generation import DataKind
from winnow.cli.options import (
    config_option,
    dry_run_option,
    file_option,
    force_option,
    json_option,
    option_with_default,
    say,
    say_page,
)
from winnow.cli.wording import aligned, as_text, count, show
from winnow.config.exit_codes import CommandExit
from winnow.config.next_command import next_flag

if TYPE_CHECKING:
    from winnow.api import Ingestion, Preparation, Validation
    from winnow.config.experiment import Engine

engine_option = click.option(
    "--engine", type=click.Choice(["duckdb", "polars", "spark"]), help="What computes the rows; by default the file's."
)


@click.command("generate-data")
@option_with_default(
    "--kind",
    type=click.Choice(get_args(DataKind)),
    default="linear",
    help="linear: numbers, with a linear answer. churn: customers, of whom a fifth leave. weather: a folder of "
    "stations' readings, a CSV file for each month. images: a folder of shapes, with a subfolder for each.",
)
@click.option("--rows", type=int, help="Number of rows; by default 1000 for linear data, 300 images, and else 2000.")
@option_with_default("--features", type=int, default=10, help="Linear data: number of feature columns.")
@option_with_default(
    "--informative", type=int, default=4, help="Linear data: number of features that influence the target."
)
@option_with_default("--classes", type=int, default=2, help="Linear data: number of classes; 0 for regression.")
@option_with_default(
    "--noise", type=float, default=0.5, help="Linear data: size of the part that no model can predict."
)
@option_with_default("--groups", type=int, default=0, help="Linear data: number of groups of similar rows; 0 for none.")
@option_with_default("--seed", type=int, default=0, help="The same seed gives the same file.")
@click.option("--drifted", is_flag=True, help="Churn: rows after a price rise, which changed columns and answers.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="A .csv or .parquet file, by default data/generated.csv for linear data, and data/churn.csv; a folder for "
    "images and weather, by default data/KIND. The answer is written beside it.",
)
@force_option("Overwrite existing files.")
def generate_data(**options: Any) -> None:
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


@click.command("data-version")
@click.option(
    "--input", "path", type=click.Path(path_type=Path), required=True, help="The file or folder, in a DVC project."
)
@click.option(
    "--commit", is_flag=True, help="Also commit the `.dvc` file, and the files of DVC's own beside it, to Git."
)
@json_option
def data_version(path: Path, commit: bool, as_json: bool) -> None:
    """Make a version of a file or folder: DVC tracks it as it is, and copies it to its default remote.

    Experiments name it by `data: {source: "dvc:PATH"}`. Git keeps the file PATH.dvc, which says which content it is.
    """
    from winnow import api

    made = api.data_version(path, commit=commit, say=lambda line: click.echo(line, err=as_json))
    if as_json:
        click.echo(as_text(made))
        return
    click.echo(f"version {made.md5} is in {made.remote}" + ("" if made.pushed else ", as before"))
    if made.committed:
        click.echo("Git has it, too")
    else:
        files = " ".join(shlex.quote(str(file)) for file in made.files)
        click.echo(f"commit it: git add {files} && git commit")


@click.command("ingest")
@config_option
@dry_run_option
@json_option
def ingest(config: Path, dry_run: bool, as_json: bool) -> None:
    """Copy the raw data that `data.raw` names to the home, as Parquet, and only what is new of them.

    Rows that have not changed make no new version, and a transfer that breaks leaves the current one.
    """
    from winnow import api

    show(api.ingest(config, dry_run=dry_run), as_json, ingestion_lines)


def ingestion_lines(found: Ingestion) -> Iterator[str]:
    """What was read and which version it made, as lines for people."""
    verb = "would be read" if found.state == "planned" else "read"
    yield from (f"{verb}: {source}" for source in found.read)
    if found.kept:
        yield f"unchanged since the last call: {count(found.kept, 'source')}"
    made = found.ingested
    if made is None:
        return
    word = {"new": "new version", "unchanged": "nothing has changed: version", "planned": "current version"}
    yield f"{word[found.state]} {made.version}: {made.rows} rows, {len(made.columns)} columns"
    for column in made.columns:
        dtype = made.dtypes.get(column.name)
        yield f"  {column.name}: {column.type}" + (f", {dtype} by the schema" if dtype is not None else "")
    if made.watermark is not None:
        yield f"  read up to {made.raw['by']} = {made.watermark}"
    yield f"  in {found.path}"
    yield from found.notes


@click.command("validate")
@config_option
@file_option("--schema", "The schema file; by default `data.schema`.")
@click.option("--infer", is_flag=True, help="Write a first schema from the data; by default schemas/NAME.yaml.")
@force_option("With --infer: overwrite an existing file.")
@file_option("--html", "Also write one self-contained page about the data.")
@json_option
def validate(
    config: Path, schema: Path | None, infer: bool, force: bool, html: Path | None, as_json: bool
) -> CommandExit | None:
    """Check raw rows against their schema: types, ranges, missing and repeated values, conditions in SQL.

    Rows that were ingested, else those of `data.source`. Exit status 2: a rule is violated; nothing is changed.
    """
    from winnow import api

    if infer:
        path = api.infer_schema(config, schema=schema, force=force)
        say(f"{path}: a first schema. Correct it, and name it in the experiment file: `data: {{schema: {path}}}`.")
        if html is None:
            return None
        schema = path
    found = api.validate(config, schema=schema, html=html)
    show(found, as_json, validation_lines)
    say_page(html)
    return None if found.is_valid else CommandExit.REFUSED


def validation_lines(found: Validation) -> Iterator[str]:
    """What was found, as lines for people."""
    rows = f"{found.rows:,} {count(found.rows, 'row').partition(' ')[2]} of {count(found.columns, 'column')}"
    if found.schema is None:
        yield f"{found.source}: {rows}, checked against no schema ({next_flag('schema')})"
        return
    if found.is_valid:
        yield f"{found.source}: {rows} fit {found.schema}"
        return
    yield f"{found.source}: {rows} violate {count(len(found.violations), 'rule')} of {found.schema}"
    head = ("column", "rule", "rows", "first rows", "first value")
    table = [
        (each.column or "-", each.rule, f"{each.count:,}", ", ".join(map(str, each.rows)) or "-", each.example or "")
        for each in found.violations
    ]
    yield from aligned([head, *table])


@click.command("prepare")
@config_option
@engine_option
@click.option(
    "--spark-master",
    metavar="URL",
    help="Where Spark computes: local[*], spark://HOST:PORT or k8s://https://HOST:PORT; by default SPARK_MASTER.",
)
@dry_run_option
@json_option
def prepare(config: Path, engine: Engine | None, spark_master: str | None, dry_run: bool, as_json: bool) -> None:
    """Compute the rows of `source: prepared` from raw data, by the query or function that `data.prepare` names.

    Inputs that have not changed compute nothing, and a query that fails leaves the current version.
    """
    from winnow import api

    found = api.prepare(config, engine=engine, spark_master=spark_master, dry_run=dry_run)
    show(found, as_json, preparation_lines)


def preparation_lines(found: Preparation) -> Iterator[str]:
    """What was computed and which version it made, as lines for people."""
    done = {"planned": "would be computed", "new": "computed", "unchanged": "nothing has changed"}[found.state]
    yield f"{done}: raw version {found.inputs.raw} by {found.inputs.engine}"
    made = found.prepared
    if made is None:
        return
    word = {"new": "new version", "unchanged": "version", "planned": "current version"}[found.state]
    yield f"{word} {made.version}: {made.rows} rows, {len(made.columns)} columns"
    yield from (f"  {column.name}: {column.type}" for column in made.columns)
    yield f"  in {found.path}"
    yield from found.notes

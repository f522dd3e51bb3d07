"""`winnow evaluate`, `compare-ab`, `predict` and `promote-model`: versions on rows that they were not trained on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    config_option,
    force_option,
    json_option,
    model_options,
    model_version_option,
    rules_option,
    version_options,
)
from winnow.cli.wording import aligned, as_text, show
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.api import Comparison, Evaluation, MeasuredMetric, Promotion

NOT_PROMOTED = 3

input_option = click.option(
    "--input",
    "source",
    help="Rows with the target: a CSV, Parquet or Arrow file, or what `data.source` may be; by default the holdout.",
)
metric_option = click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="Metric; by default the study's. May be repeated."
)


@click.command("evaluate", cls=StoreVerb)
@config_option
@input_option
@model_options
@version_options
@click.option(
    "--by", metavar="COLUMN", help="Also measure the rows of each value of a column; it need not be a feature."
)
@metric_option
@json_option
def evaluate(as_json: bool, **options: Any) -> None:
    """Measure a registered version on rows, with 95 % intervals. Rows that it was trained on are left out."""
    from winnow import api

    show(api.evaluate(**options), as_json, evaluation_lines)


@click.command("compare-ab", cls=StoreVerb)
@config_option
@click.option("--a", required=True, metavar="VERSION", help="Number of the version to compare with, as 3 or 1.2.0.")
@click.option("--b", required=True, metavar="VERSION", help="Number of the version that may be better, as 3 or 1.2.0.")
@input_option
@model_options
@metric_option
@json_option
def compare(as_json: bool, **options: Any) -> None:
    """Compare two versions on the same rows, paired. Rows that either was trained on are left out."""
    from winnow import api

    show(api.compare_ab(**options), as_json, comparison_lines)


@click.command("predict", cls=StoreVerb)
@config_option
@click.option("--input", "source", required=True, help="Rows: a CSV, Parquet or Arrow file, a folder or a pattern.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The .parquet, .csv or .jsonl file to write, with a prediction for each row.",
)
@click.option(
    "--carry", default="", metavar="COLUMNS", help="Columns of the input to carry along, separated by commas."
)
@model_options
@version_options
@force_option("Replace an existing output.")
@json_option
def predict(as_json: bool, carry: str, **options: Any) -> None:
    """Score the rows of a file with a registered version, with the answers that its server gives."""
    from winnow import api

    found = api.predict_table(**options, carry=[each for each in carry.split(",") if each])
    if as_json:
        click.echo(as_text(asdict(found) | {"output": str(found.output)}))
        return
    rate = found.rows / max(found.seconds, 1e-9)
    click.echo(
        f"{found.output}: {found.rows:,} predictions of {found.name} version "
        f"{found.label} in {found.seconds:.1f} s ({rate:,.0f} rows/s)"
    )


@click.command("promote-model", cls=StoreVerb)
@config_option
@click.option("--stage", type=click.Choice(["staging", "production"]), required=True, help="Stage to promote to.")
@model_options
@model_version_option
@input_option
@rules_option
@json_option
def promote(as_json: bool, **options: Any) -> int:
    """Judge a version by the gates of a stage; move @staging or @champion to it where it passes them all.

    Moving an alias deploys nothing. Exit status 3: a gate did not pass.
    """
    from winnow import api

    found = api.promote_model(**options)
    show(found, as_json, promotion_lines)
    return 0 if found.is_promoted else NOT_PROMOTED


def evaluation_lines(found: Evaluation) -> list[str]:
    """An evaluation as lines for people."""
    head = ("rows", "", *(each.name for each in found.slices[0].metrics))
    rows = [head, *((each.name, f"{each.rows}", *map(_measured, each.metrics)) for each in found.slices)]
    return [f"{found.name} version {found.label} on {found.source}", *aligned(rows)]


def comparison_lines(found: Comparison) -> list[str]:
    """A comparison as lines for people."""
    head = ("metric", f"version {found.a}", f"version {found.b}", "better by", "95 % interval", "rows")
    rows = []
    for each in found.findings:
        a, b = found.values[each.condition]
        low, high = each.interval
        interval = "too few rows" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"
        rows.append((each.condition, f"{a:.4g}", f"{b:.4g}", f"{each.estimate:+.4g}", interval, f"{each.n}"))
    return [f"{found.name} on {found.source}", *aligned([head, *rows]), found.verdict]


def promotion_lines(found: Promotion) -> list[str]:
    """What the gates said and what to do next, as lines for people."""
    if not (found.findings and found.is_promoted):
        return verdict_lines(found)
    stage = "staging" if found.stage == "staging" else None
    prod = next_command("prod", platform="local", name=found.name, stage=stage)
    return [*verdict_lines(found), f"  next: {prod}"]


def verdict_lines(found: Promotion) -> list[str]:
    """What the gates said, as lines for people."""
    if not found.findings:
        return [f"{found.name} {found.reason}; nothing changed."]
    rows = [("gate", "estimate", "interval", "rows", "verdict")]
    for each in found.findings:
        low, high = ("-" if bound is None else f"{bound:.4g}" for bound in each.interval)
        interval = "" if each.interval == (None, None) else f"{low} to {high}"
        estimate = "-" if each.estimate is None else f"{each.estimate:.4g}"
        rows.append((each.condition, estimate, interval, f"{each.n}" if each.n else "", each.result.value))
    champion = f"the champion is version {found.champion_label}" if found.champion else "there is no champion yet"
    lines = [f"{found.name} version {found.label} for {found.stage}, on {found.source}; {champion}", *aligned(rows)]
    lines += [f"  {each.condition}: {each.reason}" for each in found.findings if each.result.value != "pass"]
    if not found.is_promoted:
        return [*lines, f"Not promoted: {found.reason}."]
    return [*lines, f"{found.name} version {found.label} is now @{found.alias}."]


def _measured(metric: MeasuredMetric) -> str:
    if metric.value is None:
        return "-"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} ({metric.low:.4g} to {metric.high:.4g})"

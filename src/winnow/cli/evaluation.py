"""`winnow evaluate` and `compare-ab`: versions on rows that they were not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import StoreVerb, config_option, json_option, model_options, version_options

if TYPE_CHECKING:
    from winnow.api import Comparison, Evaluation, MeasuredMetric

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

    found = api.evaluate(**options)
    click.echo(as_text(found) if as_json else "\n".join(evaluation_lines(found)))


@click.command("compare-ab", cls=StoreVerb)
@config_option
@click.option("--a", required=True, metavar="VERSION", help="Number of the version to compare with.")
@click.option("--b", required=True, metavar="VERSION", help="Number of the version that may be better.")
@input_option
@model_options
@metric_option
@json_option
def compare(as_json: bool, **options: Any) -> None:
    """Compare two versions on the same rows, paired. Rows that either was trained on are left out."""
    from winnow import api

    found = api.compare_ab(**options)
    click.echo(as_text(found) if as_json else "\n".join(comparison_lines(found)))


def evaluation_lines(found: Evaluation) -> list[str]:
    """An evaluation as lines for people."""
    head = ("rows", "", *(each.name for each in found.slices[0].metrics))
    table = [head, *((each.name, f"{each.rows}", *map(_measured, each.metrics)) for each in found.slices)]
    return [f"{found.name} version {found.version} on {found.source}", *aligned(table)]


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


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows of cells as lines with columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _measured(metric: MeasuredMetric) -> str:
    if metric.value is None:
        return "-"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} ({metric.low:.4g} to {metric.high:.4g})"


def as_text(found: Any) -> str:
    """A value as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(found)).decode()

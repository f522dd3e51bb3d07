"""`winnow outcomes`: logged predictions, joined with what turned out to be true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import json_option
from winnow.cli.wording import aligned, as_text

if TYPE_CHECKING:
    from winnow.api import JoinedOutcomes, RevisionOutcomes


@click.command("outcomes")
@click.option(
    "--input",
    "source",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Lines of the log: a file, a folder, a pattern, or a URL such as s3://bucket/cells/. May be repeated.",
)
@click.option("--metric", default="accuracy", show_default=True, help="absolute_error, squared_error or value instead.")
@click.option("--name", metavar="NAME", help="Name of the deployment; by default all.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write all predictions to this Parquet file.")
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Measure each revision by the outcomes of its predictions. docs/outcomes.md describes the log."""
    from winnow import api

    found = api.outcomes(**options)
    click.echo(as_text(found) if as_json else "\n".join(lines_of(found)))


def lines_of(found: JoinedOutcomes) -> list[str]:
    """The joined log as lines for people."""
    head = ("deployment", "revision", "version", "requests", "outcomes", found.metric, "95 % interval")
    notes = [
        (found.chosen, "requests chose their revision and are not counted"),
        (found.repeated, "predictions were logged more than once and count once"),
        (found.corrected, "predictions have outcomes that contradict each other: the latest counts"),
        (found.unknown, "outcomes belong to no prediction in the log: it samples, has not arrived, or ids are wrong"),
    ]
    return [*aligned([head, *map(_row, found.revisions)]), *(f"{count} {text}" for count, text in notes if count)]


def _row(each: RevisionOutcomes) -> tuple[str, ...]:
    counts, (low, high) = each.counts, each.interval
    copied = " (copies)" if each.is_mirrored else ""
    answered = f" ({each.fallbacks} by stable)" if each.fallbacks else ""
    return (
        each.deployment or "-",
        f"{counts.revision or '-'}{copied}",
        each.version or "-",
        f"{counts.requests}{answered}",
        f"{counts.outcomes}",
        "-" if each.estimate is None else f"{each.estimate:.4g}",
        "-" if low is None or high is None else f"{low:.4g} to {high:.4g}",
    )

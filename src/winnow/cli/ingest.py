"""`winnow ingest`: copy raw data to the home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import config_option, dry_run_option, json_option
from winnow.cli.wording import as_text

if TYPE_CHECKING:
    from winnow.api import Ingestion


@click.command("ingest")
@config_option
@dry_run_option
@json_option
def command(config: Path, dry_run: bool, as_json: bool) -> None:
    """Copy the raw data that `data.raw` names to the home, as Parquet, and only what is new of them.

    Rows that have not changed make no new version, and a transfer that breaks leaves the current one.
    """
    from winnow import api

    found = api.ingest(config, dry_run=dry_run)
    click.echo(as_text(found) if as_json else "\n".join(ingestion_lines(found)))


def ingestion_lines(found: Ingestion) -> list[str]:
    """What was read and which version it made, as lines for people."""
    verb = "would be read" if found.state == "planned" else "read"
    lines = [f"{verb}: {source}" for source in found.read]
    if found.kept:
        lines.append(f"unchanged since the last call: {found.kept} {'source' if found.kept == 1 else 'sources'}")
    if found.ingested is None:
        return lines
    word = {"new": "new version", "unchanged": "nothing has changed: version", "planned": "current version"}
    made = found.ingested
    lines.append(f"{word[found.state]} {made.version}: {made.rows} rows, {len(made.columns)} columns")
    for column in made.columns:
        dtype = made.dtypes.get(column.name)
        lines.append(f"  {column.name}: {column.type}" + (f", {dtype} by the schema" if dtype is not None else ""))
    if made.watermark is not None:
        lines.append(f"  read up to {made.raw['by']} = {made.watermark}")
    return [*lines, f"  in {found.path}", *found.notes]

"""`winnow validate`: raw rows against their schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import config_option, json_option, say
from winnow.cli.wording import aligned, as_text, count
from winnow.config.exit_codes import CommandExit
from winnow.config.next_command import next_flag

if TYPE_CHECKING:
    from winnow.api import Validation


@click.command("validate")
@config_option
@click.option(
    "--schema",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The schema file; by default `data.schema`.",
)
@click.option("--infer", is_flag=True, help="Write a first schema from the data; by default schemas/NAME.yaml.")
@click.option("--force", is_flag=True, help="With --infer: overwrite an existing file.")
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write one self-contained page about the data."
)
@json_option
def command(
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
    click.echo(as_text(found) if as_json else "\n".join(lines_of(found)))
    if html is not None:
        say(f"Page: {html.absolute().as_uri()}")
    return None if found.is_valid else CommandExit.REFUSED


def lines_of(found: Validation) -> Iterator[str]:
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

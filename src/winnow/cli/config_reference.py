"""`winnow config-reference`: update or check the parts of the documents that are generated from the code."""

from __future__ import annotations

import difflib
from pathlib import Path

import click


@click.command()
@click.option("--write/--check", default=False, help="Update them; by default only check.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The project's folder; by default the working directory.",
)
def command(write: bool, root: Path) -> int:
    """Update the generated parts of README.md and docs/, or check that they are up to date."""
    from winnow import api

    stale = api.config_reference(root, write=write)
    for each in stale:
        lines = difflib.unified_diff(
            each.found.splitlines(), each.wanted.splitlines(), str(each.path), "generated", lineterm=""
        )
        click.echo(f"written: {each.path}" if write else "\n".join(lines))
    if stale and not write:
        click.echo("error: the documents are older than the code. Run `make docs`.", err=True)
        return 1
    return 0

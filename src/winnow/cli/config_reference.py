"""`winnow config-reference`: the parts of the documents that are generated from the code, written or checked."""

from __future__ import annotations

import difflib
from pathlib import Path

import click


@click.command(help="Write the generated parts of README.md and docs/, or check that they are up to date.")
@click.option("--write/--check", default=False, help="Write them; by default only check.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The project's folder; by default the working directory.",
)
def command(write: bool, root: Path) -> int:
    """Return 0 where everything is, or now is, up to date."""
    from winnow import api

    stale = api.config_reference(root, write=write)
    if write:
        for each in stale:
            click.echo(f"written: {each.path}")
        return 0
    for each in stale:
        lines = difflib.unified_diff(
            each.found.splitlines(), each.wanted.splitlines(), str(each.path), "generated", lineterm=""
        )
        click.echo("\n".join(lines))
    if stale:
        click.echo("error: the documents are older than the code. Run `make docs`.", err=True)
    return 1 if stale else 0

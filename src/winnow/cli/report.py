"""`winnow report`: a study as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from winnow.api.arguments import study_name
from winnow.cli.options import StoreVerb, config_option, study_option


@click.command("report", cls=StoreVerb)
@config_option
@study_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write; by default HOME/studies/STUDY/report.html.",
)
def command(config: Path, study: str | None, output: Path | None) -> None:
    """Write a study's report, a self-contained HTML page."""
    name = study_name(config, study)
    from winnow import api

    page = api.write_report(study=name, output=output)
    click.echo(f"Report of {name}: {page.absolute().as_uri()}")

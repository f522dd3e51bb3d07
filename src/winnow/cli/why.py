"""`winnow why`: where a version comes from, and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import StoreVerb, config_option, json_option, model_options, say, version_options
from winnow.cli.wording import as_text, sheet_lines


@click.command("why", cls=StoreVerb)
@config_option
@model_options
@version_options
@click.option("--run", metavar="ID", help="The version that this run registered.")
@click.option(
    "--request", metavar="ID", help="What was answered to the request with this x-request-id, and by which version."
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="Prediction log: a file, a pattern or s3://…; by default `monitoring.quality.outcomes`. May be repeated.",
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write one self-contained page.")
@json_option
def command(as_json: bool, html: Path | None, **options: Any) -> None:
    """Say where a model version comes from, and what became of it: by default the champion.

    Data, code, study, trial and metrics; gates, aliases, rollouts, rollbacks, alerts and retrainings, with their
    reasons.
    """
    from winnow import api

    found = api.why(html=html, **options)
    click.echo(as_text(found) if as_json else "\n".join(sheet_lines(found.sheets())))
    if html is not None:
        say(f"Page: {html.absolute().as_uri()}")

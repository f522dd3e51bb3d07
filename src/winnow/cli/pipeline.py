"""`winnow pipeline`: from raw data to a served model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    config_option,
    dry_run_option,
    json_option,
    option_with_default,
    rules_option,
    say,
)
from winnow.cli.wording import as_text
from winnow.config.exit_codes import CommandExit
from winnow.config.interrupts import treat_sigterm_as_interrupt
from winnow.config.next_command import next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import Pipeline


@click.command("pipeline", cls=StoreVerb)
@config_option
@option_with_default(
    "--until",
    type=click.Choice(["prepare", "train", "select", "serve"]),
    default="serve",
    help="The last step.",
)
@click.option(
    "--engine", type=click.Choice(["duckdb", "polars", "spark"]), help="What prepares the rows; by default the file's."
)
@option_with_default("--platform", type=click.Choice(PLATFORMS), default="local", help="Where it trains and serves.")
@rules_option
@dry_run_option
@json_option
def command(config: Path, platform: str, as_json: bool, **options: Any) -> CommandExit | None:
    """Ingest, validate, prepare, train, select and serve, one after the other. Steps that are done change nothing.

    The same command goes on where one before failed. Exit status 2: bad input, such as rows that violate the schema; 3:
    rules, gates or the rollout refused the new version; else that of the step that failed.
    """
    from winnow import api

    treat_sigterm_as_interrupt()

    def tell(step: str, said: str) -> None:
        click.echo(f"{step:<9} {said}", err=as_json)

    found = api.pipeline(config, platform=platform, tell=tell, say=say, **options)
    if as_json:
        click.echo(as_text(found))
    elif found.url:
        click.echo("\n".join(_served(found, platform)))
    return CommandExit.REJECTED if found.state == "refused" else None


def _served(found: Pipeline, platform: str) -> list[str]:
    stop = next_command("prod-remove", name=found.model, platform=platform)
    why = next_command("why", name=found.model)
    return [f"\n{found.model} answers at {found.url}", f"  {found.curl}", f"  stop  {stop}", f"  why   {why}"]

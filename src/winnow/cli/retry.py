"""`winnow retry`: a study's failed trials, trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import StoreVerb, changed_code_option, config_option, study_option
from winnow.cli.train import describe, image_options, status_of, workers_option
from winnow.config.platforms import PLATFORMS


@click.command("retry", cls=StoreVerb)
@config_option
@study_option
@workers_option
@click.option(
    "--platform", type=click.Choice(PLATFORMS), default="local", show_default=True, help="Where the workers run."
)
@image_options
@changed_code_option
def command(config: Path, study: str | None, platform: str, **options: Any) -> int:
    """Train a study's failed trials again under their numbers.

    They keep their parameters. After a change of your code, which is what mostly mends them, add --allow-changed-code.
    Failed refits are tried again too. Then the sweep goes on as with `winnow train`.
    """
    from winnow import api

    result = api.retry(config, study=study, platform=platform, **options)
    click.echo(describe(result, config, platform, study))
    return status_of(result)

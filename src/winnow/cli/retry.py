"""`winnow retry`: train a study's failed trials again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import StoreVerb, changed_code_option, config_option, study_option, workers_platform_option
from winnow.cli.train import describe, image_options, status_of, workers_option


@click.command("retry", cls=StoreVerb)
@config_option
@study_option
@workers_option
@workers_platform_option
@image_options
@changed_code_option
def command(config: Path, study: str | None, platform: str, **options: Any) -> int:
    """Train a study's failed trials again, with the same numbers and parameters.

    If you fixed your code, add --allow-changed-code. Failed refits are tried again too. Then the sweep continues as
    with `winnow train`.
    """
    from winnow import api

    result = api.retry(config, study=study, platform=platform, **options)
    click.echo(describe(result, config, platform, study))
    return status_of(result)

"""`winnow diff`: what would change in the cluster, before anything does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import config_option, model_options, say, version_options

DIFFERENT = 1
"""Exit status with `--exit-code` if something would change, as for `diff`."""

NOT_COMPARED = 2
"""Exit status if a part could not be compared, and may or may not change."""


@click.command("diff")
@config_option
@model_options
@click.option("--part", type=click.Choice(["stack", "prod"]), help="Compare only this part; by default both.")
@version_options
@click.option("--replicas", type=click.IntRange(min=1), help="As for prod.")
@click.option("--exit-code", is_flag=True, help=f"Exit with status {DIFFERENT} if something would change.")
def command(config: Path, part: str | None, exit_code: bool, **options: Any) -> int:
    """Show what `mlflow-init` and `prod` on Kubernetes would change in the cluster.

    The environment variables of these verbs apply. Secrets are replaced by stars. Exit status 2: a part could not be
    compared. Until a model is selected, only the stack is compared; this is an error only with --part prod.
    """
    from winnow import api

    found = api.diff(config, part=part, say=say, **options)
    last = ""
    for each in found:
        if each.error is None:
            click.echo(each.text or f"{each.part}: nothing would change.", nl=not each.text, err=not each.text)
        elif str(each.error) == last:
            say(f"{each.part} was not compared, for the same reason.")
        elif each.has_nothing_yet:
            say(f"{each.part}: there is nothing to compare yet: {each.error}")
        else:
            say(f"{each.part} was not compared: {each.error}")
        last = str(each.error) if each.error is not None else last
    if any(each.error is not None and (part is not None or not each.has_nothing_yet) for each in found):
        return NOT_COMPARED
    return DIFFERENT if exit_code and any(each.text for each in found) else 0

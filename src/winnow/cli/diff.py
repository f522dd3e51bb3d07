"""`winnow diff`: what would change in the cluster, before anything does."""

from __future__ import annotations

from pathlib import Path

import click

from winnow.cli.options import config_option, say, study_option, version_options

DIFFERENT = 1
"""Exit status with `--exit-code` where something would change, as `diff` has it."""

NOT_COMPARED = 2
"""Exit status where something could not be compared: nothing is known of it, which is not that it is the same."""


@click.command("diff")
@config_option
@study_option
@click.option("--part", type=click.Choice(["stack", "prod"]), help="Compare this alone; by default both.")
@version_options
@click.option("--replicas", type=click.IntRange(min=1), help="As for prod.")
@click.option("--exit-code", is_flag=True, help=f"End with status {DIFFERENT} where something would change.")
def command(
    config: Path,
    study: str | None,
    part: str | None,
    alias: str,
    version: str | None,
    replicas: int | None,
    exit_code: bool,
) -> int:
    """Show what `mlflow-init` and `prod` on Kubernetes would change in the cluster; secrets are starred.

    What the environment sets counts, as for them. Ends with status 2 where something could not be compared. Without a
    champion there is nothing of prod to compare yet, which is no failure unless it was asked for with --part.
    """
    from winnow import api

    found = api.diff(
        config,
        study=study,
        part=part,
        alias=alias,
        version=version,
        replicas=replicas,
        say=say,
    )
    last = ""
    for each in found:
        if each.error is None:
            click.echo(each.text or f"{each.part}: nothing would change.", nl=not each.text, err=not each.text)
        elif str(each.error) == last:
            click.echo(f"{each.part} was not compared, for the same reason.", err=True)
        elif each.has_nothing_yet:
            click.echo(f"{each.part}: there is nothing to compare yet: {each.error}", err=True)
        else:
            click.echo(f"{each.part} was not compared: {each.error}", err=True)
        last = str(each.error) if each.error is not None else last
    # Before the first selection there is only the stack to compare.
    if any(each.error is not None and (part is not None or not each.has_nothing_yet) for each in found):
        return NOT_COMPARED
    return DIFFERENT if exit_code and any(each.text for each in found) else 0

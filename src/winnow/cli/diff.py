"""`winnow diff`: what would change in the cluster, before anything does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from winnow.cli.options import config_option, study_of, study_option, version_options
from winnow.config.errors import WinnowError

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
    from winnow.orchestrators.releases import NoChampionError

    compared: dict[str, Callable[[], str]] = {
        "stack": _stack,
        "prod": lambda: _prod(config, study, alias, version, replicas),
    }
    is_different, is_whole = False, True
    told = ""
    for name in compared if part is None else (part,):
        try:
            text = compared[name]()
        except WinnowError as error:
            # The other part may well be there to compare: before the first selection there is only the stack.
            is_none_yet = isinstance(error, NoChampionError)
            if str(error) == told:
                click.echo(f"{name} was not compared, for the same reason.", err=True)
            elif is_none_yet:
                click.echo(f"{name}: there is nothing to compare yet: {error}", err=True)
            else:
                click.echo(f"{name} was not compared: {error}", err=True)
            told = str(error)
            is_whole = is_whole and part is None and is_none_yet
            continue
        click.echo(text or f"{name}: nothing would change.", nl=not text, err=not text)
        is_different = is_different or bool(text)
    if not is_whole:
        return NOT_COMPARED
    return DIFFERENT if exit_code and is_different else 0


def _stack() -> str:
    from winnow.orchestrators.difference import stack_difference

    return stack_difference(lambda line: click.echo(line, err=True))


def _prod(config: Path, study: str | None, alias: str, version: str | None, replicas: int | None) -> str:
    from winnow.orchestrators.deploy import ServeRequest
    from winnow.orchestrators.difference import prod_difference
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    request = ServeRequest(study_of(config, study), alias, version, replicas)
    return prod_difference("kubernetes", settings, Registry(settings.tracking_uri), request)

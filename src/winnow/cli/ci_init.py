"""`winnow ci-init`: the pipeline of a continuous-integration server for an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from winnow.cli.options import config_option, rules_option, say


@click.command("ci-init")
@click.option("--kind", type=click.Choice(("github", "jenkins", "gitlab")), required=True, help="The server.")
@config_option
@rules_option
@click.option(
    "--source",
    metavar="URL",
    help="Where the server gets winnow from: git+https://HOST/PATH@COMMIT, or a wheel's URL; by default the checkout.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default=True,
    help="The project's folder.",
)
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
def command(kind: Any, config: Path, **options: Any) -> None:
    """Write the pipeline of a project: checks, data, sweep, selection, gates, image, scan, promotion by a commit.

    It is yours to change. Its stages call make. Equal input gives equal files.
    """
    from winnow import integrations

    for path in integrations.ci_init(kind, config, **options, say=say):
        say(str(path))

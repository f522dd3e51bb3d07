"""`winnow spark-init` and `spark-remove`: a standalone Spark on this machine's Docker engine."""

from __future__ import annotations

from typing import Any

import click

from winnow import api
from winnow.cli.options import dry_run_option
from winnow.config.next_command import next_command

_PORT = click.IntRange(1, 65535)


@click.command("spark-init")
@click.option(
    "--spark-port", "port", type=_PORT, default=7077, show_default=True, help="Port of this machine for sessions."
)
@click.option("--page-port", type=_PORT, default=8081, show_default=True, help="Port of the master's page.")
@click.option("--cores", type=click.IntRange(min=1), default=2, show_default=True, help="Cores that the worker offers.")
@click.option("--memory", default="2g", show_default=True, help="Memory that it offers, as Spark writes it.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds to wait."
)
@dry_run_option
def init(dry_run: bool, **options: Any) -> None:
    """Start a master and a worker of Spark in containers of this machine, from an image that is built first.

    Both listen on 127.0.0.1 alone and ask for a secret, which is made and kept in the home.
    """
    from winnow.cli.build import shown_steps

    with shown_steps() as show:
        started = api.spark_init(**options, dry_run=dry_run, show=show)
    if dry_run:
        click.echo(started.plan.rstrip("\n"))
        return
    for name, address in started.endpoints.items():
        click.echo(f"{name:<8}{address}")
    command = next_command("prepare", config=..., engine="spark", spark_master=started.endpoints["Master"])
    click.echo(f"Use it: `{command}`. It runs until `{next_command('spark-remove')}`.")


@click.command("spark-remove")
@click.option("--force", is_flag=True, help="Remove it even if another home started it.")
@dry_run_option
def remove(dry_run: bool, force: bool) -> None:
    """Stop and remove Spark's master and worker, and their secret. Prepared rows stay."""
    end = api.spark_remove(force=force, dry_run=dry_run)
    click.echo(end.render() if dry_run else end.outcome)

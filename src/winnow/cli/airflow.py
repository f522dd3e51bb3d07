"""`winnow airflow-local`, `airflow-init`, `airflow-remove` and `airflow-logs`: Airflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from winnow import api
from winnow.cli.options import dry_run_option, in_order, say
from winnow.config.next_command import next_command


def _start_options(timeout_s: int) -> Callable[[Any], Any]:
    return in_order(
        click.option(
            "--port",
            type=click.IntRange(1, 65535),
            default=8080,
            show_default=True,
            help="Port of this machine for its page and its REST API.",
        ),
        click.option(
            "--parallelism",
            type=click.IntRange(min=1),
            default=2,
            show_default=True,
            help="How many tasks run at once; deferred ones do not count.",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=1),
            default=timeout_s,
            show_default=True,
            help="Seconds to wait until it is healthy.",
        ),
        dry_run_option,
    )


@click.command("airflow-local")
@click.option("--dags", type=click.Path(path_type=Path), help="Folder of DAGs. Default: airflow/dags.")
@_start_options(120)
def local(**options: Any) -> None:
    """Run Airflow on this machine, without Docker, until Ctrl-C; all of its processes end with it.

    Only this machine reaches it. It needs `winnow install-tool --tool airflow`.
    """
    plan = api.airflow_local(**options, say=say)
    if options["dry_run"]:
        click.echo(plan, nl=False)


@click.command("airflow-init")
@click.option("--platform", type=click.Choice(("docker", "kubernetes")), default="docker", show_default=True)
@click.option("--registry", metavar="HOST/PATH", default="", help="Registry of the image, for a cluster.")
@_start_options(300)
def init(dry_run: bool, platform: str, **options: Any) -> None:
    """Start Airflow with Postgres in containers, from an image with this project in it.

    Run it again to bring changed experiments and DAGs into the image. On Kubernetes it prints manifests, and the
    commands that build the image and apply them.
    """
    from winnow.cli.build import shown_steps

    with shown_steps() as show:
        started = api.airflow_init(platform, **options, dry_run=dry_run, show=show, say=say)
    if dry_run or not started.endpoints:
        click.echo(started.plan.rstrip("\n"))
        for fact in started.unknown:
            say(f"not looked up: {fact}")
        return
    for name, address in started.endpoints.items():
        click.echo(f"{name:<10}{address}")
    click.echo(f"It runs until `{next_command('airflow-remove')}`.")


@click.command("airflow-remove")
@click.option("--volumes", is_flag=True, help="Also delete its database, what its tasks have made, and its secrets.")
@click.option("--force", is_flag=True, help="Remove it even if another home started it.")
@dry_run_option
def remove(dry_run: bool, **options: Any) -> None:
    """Stop and remove Airflow on Docker. Its runs and secrets stay unless --volumes is given."""
    end = api.airflow_remove(**options, dry_run=dry_run, say=say)
    click.echo(end.render() if dry_run else end.outcome)


@click.command("airflow-logs")
@click.option("--service", metavar="NAME", help="Only this: api-server, scheduler, dag-processor, triggerer, database.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Last lines of each service.")
@click.option("--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@dry_run_option
def logs(dry_run: bool, **options: Any) -> int:
    """Print the logs of Airflow on Docker."""
    printed = api.airflow_logs(**options, dry_run=dry_run, say=say)
    if dry_run:
        click.echo(printed.command)
    return printed.exit_status

"""`winnow ui` and `dashboard`: MLflow's pages on this project's runs, and Optuna's on its studies.

If they need a server, this process becomes it, so that Ctrl-C and signals end it.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading

import click

from winnow.cli.options import StoreVerb, dry_run_option


@click.command(cls=StoreVerb)
@click.option("--port", type=click.IntRange(0, 65535), help="Port; by default 5000, or a free one if that is taken.")
@dry_run_option
def command(port: int | None, dry_run: bool) -> None:
    """Show MLflow's pages on the runs, on this machine only."""
    from winnow import api

    pages = api.ui(port=port, dry_run=dry_run)
    if pages.server and dry_run:
        click.echo(shlex.join(pages.server))
        return
    if pages.server:
        click.echo(f"MLflow's pages will be at {pages.address} in a moment. Press Ctrl-C to stop.")
    else:
        click.echo(f"The tracking server's pages: {pages.address}")
    for study, page in pages.studies:
        click.echo(f"  {study:<24} {page}")
    sys.stdout.flush()
    if pages.server:
        os.execve(pages.server[0], pages.server, {**os.environ, **pages.environment})
    if pages.is_forwarded and not dry_run:
        click.echo("Forwarding the address through the cluster's API server. Press Ctrl-C to stop.")
        sys.stdout.flush()
        threading.Event().wait()


@click.command("dashboard", cls=StoreVerb)
@click.option("--port", type=click.IntRange(0, 65535), help="Port; by default 8080, or a free one if that is taken.")
def dashboard(port: int | None) -> None:
    """Show Optuna's dashboard on the studies, on this machine only and read-only.

    It may run beside a sweep.
    """
    from winnow import api

    pages = api.dashboard(port=port)
    click.echo(f"Optuna's dashboard: {pages.address}. Press Ctrl-C to stop.")
    click.echo(f"  studies  {', '.join(pages.studies)}")
    click.echo(f"  storage  {pages.storage}")
    sys.stdout.flush()
    pages.serve()

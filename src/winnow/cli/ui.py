"""`winnow ui`: MLflow's own pages on this project's runs.

Where a server of MLflow's is needed, this process becomes it, so that Ctrl-C and signals end it.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading

import click

from winnow.cli.options import StoreVerb, dry_run_option


@click.command(cls=StoreVerb, help="Open MLflow's own pages on the runs, for this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; by default 5000, or a free one where that is taken.")
@dry_run_option
def command(port: int | None, dry_run: bool) -> None:
    """Print the address and become MLflow's server, where one is needed."""
    from winnow import api

    pages = api.ui(port=port, dry_run=dry_run)
    if pages.server and dry_run:
        click.echo(shlex.join(pages.server))
        return
    if pages.server:
        click.echo(f"MLflow's pages are at {pages.address} once it has started; Ctrl-C ends them.")
    else:
        click.echo(f"The tracking server shows its own pages: {pages.address}")
    for study, page in pages.studies:
        click.echo(f"  {study:<24} {page}")
    sys.stdout.flush()
    if pages.server:
        os.execve(pages.server[0], pages.server, {**os.environ, **pages.environment})
    if pages.is_forwarded and not dry_run:
        click.echo("The way there, through the cluster's API server, is held open until Ctrl-C.")
        sys.stdout.flush()
        threading.Event().wait()

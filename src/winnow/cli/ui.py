"""The verb `ui`: MLflow's own pages on this project's runs.

The process becomes MLflow's server, so that Ctrl-C and signals reach it. It listens on this machine only. Where a
tracking server is in use, such as the stack's, that one shows the pages, and its address is all that is printed; one on
a cluster is reached through this process for as long as it runs.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
from pathlib import Path

import click

from winnow.cli.options import StoreVerb, dry_run_option
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings

HOST = "127.0.0.1"
USUAL_PORT = 5000
MOST_STUDIES = 10


@click.command(cls=StoreVerb, help="Open MLflow's own pages on the runs, for this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; by default 5000, or a free one where that is taken.")
@dry_run_option
def command(port: int | None, dry_run: bool) -> None:
    """Print the address and become MLflow's server."""
    from winnow.orchestrators.settings import current
    from winnow.platforms.stack import any_port
    from winnow.tracking.connection import sqlite_path
    from winnow.tracking.moved import correct_locations

    tracking_uri = Settings.from_environment().tracking_uri
    settings = current(choose_port=any_port if dry_run else lambda: free_port(port))
    if settings.tracking_uri.startswith(("http://", "https://")):
        _say_where(settings, f"The tracking server shows its own pages: {settings.tracking_uri}", settings.tracking_uri)
        if settings.tracking_uri != tracking_uri and not dry_run:
            click.echo("The way there, through the cluster's API server, is held open until Ctrl-C.")
            _wait()
        return
    arguments = plan(settings, free_port(port))
    if dry_run:
        click.echo(shlex.join(arguments))
        return
    address = f"http://{HOST}:{arguments[-1]}"
    _say_where(settings, f"MLflow's pages are at {address} once it has started; Ctrl-C ends them.", address)
    sys.stdout.flush()
    database = sqlite_path(settings.tracking_uri)
    if database is not None:
        correct_locations(database)
    # MLflow runs its own background jobs (evaluations of language models) beside the pages unless told not to.
    # The processes that it starts are kept from the working directory's modules as it is itself.
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONSAFEPATH": "1"}
    os.execve(arguments[0], arguments, {**os.environ, **own})


def _wait() -> None:
    """Until a signal ends the process."""
    sys.stdout.flush()
    threading.Event().wait()


def _say_where(settings: Settings, sentence: str, address: str) -> None:
    click.echo(sentence)
    for study, page in pages(settings):
        click.echo(f"  {study:<24} {address.rstrip('/')}{page}")


def plan(settings: Settings, port: int) -> list[str]:
    """The command line of MLflow's server.

    Raises:
        InputError: the store is a file of SQLite that does not exist yet.
    """
    database = settings.tracking_uri.removeprefix("sqlite:///")
    if database != settings.tracking_uri and not Path(database).is_file():
        raise InputError(
            database,
            expected="a database with runs",
            found="none",
            remedy=f"Run `{next_command('train', config=...)}` first, or set MLFLOW_TRACKING_URI.",
        )
    return [
        *(sys.executable, "-P", "-m", "mlflow", "ui"),
        *("--backend-store-uri", settings.tracking_uri),
        *("--default-artifact-root", str(settings.artifact_root)),
        *("--host", HOST, "--workers", "1"),
        *("--port", str(port)),
    ]


def pages(settings: Settings) -> list[tuple[str, str]]:
    """Studies and the paths of their tables of runs, the latest first; empty where there is nothing to name."""
    from winnow.study.database import Database
    from winnow.study.store import study_names
    from winnow.tracking.run_search import MlflowRunSearch
    from winnow.tracking.tracker import TrackingUnavailableError

    try:
        names = study_names(Database(settings.storage_url))
        search = MlflowRunSearch(settings.tracking_uri)
        found = [(name, search.page_of(name)) for name in reversed(names[-MOST_STUDIES:])]
    except (InputError, TrackingUnavailableError):
        return []
    return [(name, page) for name, page in found if page is not None]


def free_port(wanted: int | None) -> int:
    """`wanted` itself; without it the usual port, or any free one.

    Raises:
        InputError: `wanted` is taken or not allowed.
    """
    for port in (USUAL_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                reason = error.strerror
                continue
            return int(probe.getsockname()[1])
    raise InputError(
        "--port", expected="a free port", found=f"{wanted} ('{reason}')", remedy="Choose another, or leave it out."
    )

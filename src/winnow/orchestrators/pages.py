"""MLflow's pages on this project's runs: their address, and the server that shows them.

A tracking server in use, such as the stack's, shows them itself. Otherwise MLflow's own server does, while the user
looks at them; it only listens on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.orchestrators.settings import current
from winnow.platforms.ports import bound
from winnow.platforms.stack import any_port
from winnow.study.database import Database
from winnow.study.store import study_names
from winnow.tracking.connection import sqlite_path
from winnow.tracking.moved import correct_locations
from winnow.tracking.run_search import MlflowRunSearch
from winnow.tracking.tracker import TrackingUnavailableError

HOST = "127.0.0.1"
USUAL_PORT = 5000
MOST_STUDIES = 10

SERVER_ENVIRONMENT: Mapping[str, str] = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONSAFEPATH": "1"}
"""Disable MLflow's job runner (evaluations of language models), and keep its processes from importing modules of the
working directory."""


@dataclass(frozen=True)
class TrackingPages:
    """Where MLflow shows the runs.

    Attributes:
        address: URL of the pages.
        studies: the latest studies, each with the URL of its table of runs; empty in a dry run with a `server`.
        server: command of the server to run while the pages are needed; empty if a tracking server in use shows them.
        environment: variables to set for that command.
        is_forwarded: this process forwards the address to a cluster, until it ends.
    """

    address: str
    studies: tuple[tuple[str, str], ...]
    server: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    is_forwarded: bool = False


def find_pages(port: int | None = None, *, dry_run: bool = False) -> TrackingPages:
    """Find MLflow's pages on the runs. See `winnow.api.ui`."""
    stated = Settings.from_environment().tracking_uri
    settings = current(choose_port=any_port if dry_run else lambda: free_port(port))
    uri = settings.tracking_uri
    if uri.startswith(("http://", "https://")):
        return TrackingPages(uri, pages(settings, uri), is_forwarded=uri != stated)
    server = plan(settings, free_port(port))
    address = f"http://{HOST}:{server[-1]}"
    if dry_run:
        return TrackingPages(address, (), tuple(server), SERVER_ENVIRONMENT)
    studies, database = pages(settings, address), sqlite_path(uri)
    if database is not None:
        correct_locations(database)
    return TrackingPages(address, studies, tuple(server), SERVER_ENVIRONMENT)


def plan(settings: Settings, port: int) -> list[str]:
    """The command line of MLflow's server. Raises InputError if the store is an SQLite file that does not exist."""
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


def pages(settings: Settings, address: str) -> tuple[tuple[str, str], ...]:
    """The latest studies first, each with the URL of its table of runs; empty if a store does not answer."""
    try:
        names = study_names(Database(settings.storage_url))
        search = MlflowRunSearch(settings.tracking_uri)
        found = [(name, search.page_of(name)) for name in reversed(names[-MOST_STUDIES:])]
    except (InputError, TrackingUnavailableError):
        return ()
    return tuple((name, f"{address.rstrip('/')}{page}") for name, page in found if page is not None)


def study_page(settings: Settings, study: str) -> str:
    """URL of a study's table of runs on a tracking server; empty without a server, and where it does not answer."""
    uri = settings.tracking_uri
    if not uri.startswith(("http://", "https://")):
        return ""
    try:
        found = MlflowRunSearch(uri).page_of(study)
    except (InputError, TrackingUnavailableError):
        return ""
    return "" if found is None else f"{uri.rstrip('/')}{found}"


def free_port(wanted: int | None, usual: int = USUAL_PORT) -> int:
    """`wanted`, or else the usual port, or else any free one. Raises InputError if `wanted` is not available."""
    for port in (usual, 0) if wanted is None else (wanted,):
        try:
            with bound(HOST, port) as listener:
                return int(listener.getsockname()[1])
        except InputError as error:
            reason = error.found
    raise InputError(
        "port", expected="a free port", found=f"{wanted} ('{reason}')", remedy="Choose another, or leave it out."
    )

"""Prepares the tracking store before any process writes to it.

Two processes that open a new SQLite file at once both run MLflow's migrations, and leave a database that never opens
again. So one process makes the file under a lock and another name, and renames it when it is complete. A server is only
asked whether it answers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from winnow.config.addresses import without_password
from winnow.config.atomic_write import replace_bytes
from winnow.config.disk import disk_fault, home_of, probe
from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.tracking.connection import apply_settings, open_client, sqlite_path
from winnow.tracking.moved import ARTIFACTS
from winnow.tracking.tracker import TrackingUnavailableError


def prepare(uri: str) -> None:
    """Make the store at `uri`, if it does not exist, and check it.

    Raises:
        InputError: the place is read-only or full, the file is not MLflow's, or the server does not answer.
    """
    database = sqlite_path(uri)
    if database is not None:
        database = database.absolute()
        with _faults_of(database), locked(database.with_name(f"{database.name}.lock")):
            if not database.exists():
                _make(database)
            _check_file(database)
    elif urlsplit(uri).scheme in ("http", "https"):
        _check_server(uri)
    else:
        # Another kind of database, whose tables MLflow makes under the database's own locks.
        try:
            open_client(uri).search_experiments(max_results=1)
        except TrackingUnavailableError as error:
            raise _unreachable(uri, str(error), "Start the database, or correct MLFLOW_TRACKING_URI.") from error


def check(uri: str) -> None:
    """Check that `prepare` will succeed. Imports MLflow only for a database server. Raises InputError."""
    database = sqlite_path(uri)
    if database is None:
        prepare(uri)
        return
    with _faults_of(database):
        database.parent.mkdir(parents=True, exist_ok=True)
        if database.exists():
            _check_file(database)
        elif (refusal := probe(database)) is not None:
            raise refusal


def artifact_root_beside(uri: str) -> str | None:
    """The default place of artifacts: beside an SQLite file; None if a server decides."""
    database = sqlite_path(uri)
    return None if database is None else (database.absolute().parent / ARTIFACTS).as_uri()


def refresh_statistics(uri: str) -> None:
    """Update SQLite's statistics; without them it plans a search over 10,000 runs as if there were none.

    An ordered search then takes 0.1 s instead of 11 to 25 s, here and in MLflow's UI. Does nothing if the file is busy,
    read-only or missing. Other databases update their statistics themselves.
    """
    database = sqlite_path(uri)
    if database is None or not database.is_file():
        return
    connection = sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=1)
    try:
        connection.execute("PRAGMA analysis_limit = 1000")
        connection.execute("ANALYZE")
    except sqlite3.OperationalError:
        return
    finally:
        connection.close()


@contextlib.contextmanager
def _faults_of(database: Path) -> Iterator[None]:
    """Raise InputError for what prevents writing the file."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        refusal = error if isinstance(error, OSError) else probe(database)
        fault = None if refusal is None else disk_fault(refusal, home_of(), database)
        raise fault or InputError(
            str(database),
            expected="a place to write the tracking store to",
            found=str(error),
            remedy="Free or unlock it, or set MLFLOW_TRACKING_URI to another place.",
        ) from error


def _make(database: Path) -> None:
    """Make an empty store: a copy of a cached one, else by MLflow's migrations, which take a second."""
    unfinished = database.with_name(f"{database.name}.new")
    _remove(unfinished)
    try:
        if not _copy_cached(unfinished):
            _migrate(unfinished)
            # RuntimeError: a user without a home folder.
            with contextlib.suppress(OSError, RuntimeError):
                replace_bytes(_cached(), unfinished.read_bytes())
        unfinished.rename(database)
    finally:
        _remove(unfinished)


def _migrate(file: Path) -> None:
    """Run MLflow's migrations on a new file. (MLflow 3.17 refuses tables that are created directly.)"""
    apply_settings()
    from mlflow.exceptions import MlflowException
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
    from sqlalchemy.exc import SQLAlchemyError

    connection = sqlite3.connect(file)
    # WAL lets the UI read while workers write; set before the migrations, it also halves their time.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    alembic = logging.getLogger("alembic")
    level = alembic.level
    alembic.setLevel(logging.WARNING)
    engine = create_sqlalchemy_engine(f"sqlite:///{file}")
    try:
        _initialize_tables(engine)
    except (SQLAlchemyError, MlflowException) as error:
        raise OSError(str(error).splitlines()[0]) from error
    finally:
        # Closing the last connection merges the write-ahead log into the file, which can then be moved alone.
        engine.dispose()
        alembic.setLevel(level)


def _cached() -> Path:
    """An empty store of the installed MLflow."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "winnow" / f"mlflow-{metadata.version('mlflow')}.db"


def _copy_cached(file: Path) -> bool:
    """Copy the cached store; False if there is none, or it is damaged."""
    try:
        shutil.copyfile(_cached(), file)
        _check_file(file)
    except (OSError, RuntimeError, sqlite3.DatabaseError, InputError):
        _remove(file)
        return False
    return True


def _remove(file: Path) -> None:
    """Remove a database and the files that SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def _check_file(database: Path) -> None:
    """Raise if the file cannot be written, or is not MLflow's."""
    connection = sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=20)
    try:
        connection.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        connection.rollback()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise _not_a_store(database, "no SQLite database") from error
    finally:
        connection.close()
    if not {"experiments", "runs", "alembic_version"} <= tables:
        raise _not_a_store(database, "a database with other tables" if tables else "an empty database")


def _not_a_store(database: Path, found: str) -> InputError:
    return InputError(
        str(database),
        expected="a tracking store made by MLflow",
        found=found,
        remedy="Move the file away to have a new one made, or set MLFLOW_TRACKING_URI to another place.",
    )


def _check_server(uri: str) -> None:
    """Send the cheapest request that needs the server's database."""
    import requests

    try:
        # The first answer of a new server may take seconds.
        answer = requests.post(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=(5, 20)
        )
    except requests.RequestException as error:
        remedy = f"Start it (`{next_command('mlflow-init')}` starts the stack's), or correct MLFLOW_TRACKING_URI."
        raise _unreachable(uri, type(error).__name__, remedy) from error
    if answer.status_code == requests.codes.ok:
        return
    found = f"status {answer.status_code}: {answer.text.strip()[:200]}"
    if answer.status_code == requests.codes.forbidden:
        host = uri.split("//", 1)[1].rstrip("/")
        raise _unreachable(
            uri, found, f"MLflow 3 answers known host names only: start it with `--allowed-hosts {host},localhost:*`."
        )
    if answer.status_code == requests.codes.unauthorized:
        raise _unreachable(uri, found, "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or a token.")
    raise _unreachable(uri, found, "See the server's log, or correct MLFLOW_TRACKING_URI.")


def _unreachable(uri: str, found: str, remedy: str) -> InputError:
    return InputError(f"tracking store {without_password(uri)}", expected="an answer", found=found, remedy=remedy)

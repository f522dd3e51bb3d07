"""Makes the tracking store ready, once, before any process writes to it.

A new SQLite file must not be opened by two processes at once: both run MLflow's migrations, and the second leaves a
database that never opens again. So one process makes it under a lock and under another name, and it appears only when
it is whole. A server is only asked whether it answers. Writing runs is left to the trackers.
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

from winnow.config.addresses import without_password
from winnow.config.atomic_write import replace_bytes
from winnow.config.disk import disk_fault, home_of, probe
from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.tracking.connection import apply_settings, is_server, open_client, sqlite_path
from winnow.tracking.moved import ARTIFACTS
from winnow.tracking.tracker import TrackingUnavailableError


def prepare(uri: str) -> None:
    """Make the store at `uri` ready for any number of processes; harmless where it is already.

    Raises:
        InputError: the place is read-only or full, the file is no database of MLflow's, or the server does not answer.
    """
    database = sqlite_path(uri)
    if database is not None:
        _prepare_file(database.absolute())
    elif is_server(uri):
        _check_server(uri)
    else:
        _check_answers(uri)


def check(uri: str) -> None:
    """Check that `prepare` can make the store at `uri` ready. MLflow is not loaded unless it is a database server.

    Raises:
        InputError: as for `prepare`.
    """
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
    """Where artifacts go by default: beside a database file; None where a server decides."""
    database = sqlite_path(uri)
    return None if database is None else (database.absolute().parent / ARTIFACTS).as_uri()


def refresh_statistics(uri: str) -> None:
    """Let SQLite count its tables anew, for otherwise it plans a search over 10,000 runs as if there were none.

    Ordered searches take 0.1 s instead of 11 to 25 s by it, here and in MLflow's UI. It is only of help: where the
    file is busy, read-only or away, nothing happens. Other databases keep their own statistics.
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


def _prepare_file(database: Path) -> None:
    with _faults_of(database), locked(database.with_name(f"{database.name}.lock")):
        if not database.exists():
            _make(database)
        _check_file(database)


@contextlib.contextmanager
def _faults_of(database: Path) -> Iterator[None]:
    """Turn what keeps a file from being written into InputError."""
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
    """Make a store without runs: a copy of the one that this user's first store began as, or by MLflow's migrations."""
    unfinished = database.with_name(f"{database.name}.new")
    _remove(unfinished)
    try:
        if not _copy_kept(unfinished):
            _make_anew(unfinished)
            _keep(unfinished)
        unfinished.rename(database)
    finally:
        _remove(unfinished)


def _make_anew(file: Path) -> None:
    """Run MLflow's migrations on a new file. (Creating its tables directly is refused by its own schema, 3.17.)"""
    apply_settings()
    alembic = logging.getLogger("alembic")
    level = alembic.level
    alembic.setLevel(logging.WARNING)
    try:
        connection = sqlite3.connect(file)
        # WAL lets people read in the UI while workers write; set first, it also halves the time of the migrations.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        # Closing the last connection folds the write-ahead log into the file, which so can be moved alone.
        _migrate(file)
    finally:
        alembic.setLevel(level)


def _kept() -> Path:
    """An empty store of the installed MLflow. The migrations take a second; a copy takes none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "winnow" / f"mlflow-{metadata.version('mlflow')}.db"


def _copy_kept(file: Path) -> bool:
    """Whether there was a whole store to copy."""
    try:
        shutil.copyfile(_kept(), file)
        _check_file(file)
    except (OSError, RuntimeError, sqlite3.DatabaseError, InputError):
        _remove(file)
        return False
    return True


def _keep(file: Path) -> None:
    """Keep a new store for copies, where there is a place for it."""
    # RuntimeError: a user without a home folder.
    with contextlib.suppress(OSError, RuntimeError):
        replace_bytes(_kept(), file.read_bytes())


def _remove(file: Path) -> None:
    """Remove a database with the files that SQLite keeps beside it, as far as they are there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)


def _migrate(file: Path) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
    from sqlalchemy.exc import SQLAlchemyError

    engine = create_sqlalchemy_engine(f"sqlite:///{file}")
    try:
        _initialize_tables(engine)
    except (SQLAlchemyError, MlflowException) as error:
        raise OSError(str(error).splitlines()[0]) from error
    finally:
        engine.dispose()


def _check_file(database: Path) -> None:
    """Raise where the file cannot be written, or is something else."""
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


def _start() -> str:
    return f"Start it (`{next_command('mlflow-init')}` starts the stack's), or correct MLFLOW_TRACKING_URI."


def _check_server(uri: str) -> None:
    """Ask the server the cheapest question that needs its database."""
    import requests

    try:
        # A server that has just started may take seconds for its first answer.
        answer = requests.post(
            f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search", json={"max_results": 1}, timeout=(5, 20)
        )
    except requests.RequestException as error:
        raise _unreachable(uri, type(error).__name__, _start()) from error
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


def _check_answers(uri: str) -> None:
    """Open a database of another kind; MLflow makes its tables there under the database's own locks."""
    try:
        open_client(uri).search_experiments(max_results=1)
    except TrackingUnavailableError as error:
        raise _unreachable(uri, str(error), "Start the database, or correct MLFLOW_TRACKING_URI.") from error


def _unreachable(uri: str, found: str, remedy: str) -> InputError:
    return InputError(f"tracking store {without_password(uri)}", expected="an answer", found=found, remedy=remedy)

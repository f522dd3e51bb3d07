"""The database that holds a study: Optuna's tables and winnow's, behind one engine.

Optuna alone does not coordinate many workers: on SQLite two processes may claim one WAITING trial, counting trials
before asking for one may overshoot, and a dead worker's trial stays RUNNING. Here every change is one transaction that
takes the write lock first.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url

from winnow.config.addresses import with_driver
from winnow.config.disk import disk_fault, home_of, probe
from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.study import optuna_tables
from winnow.study.tables import curves, metadata, out_of_fold

BUSY_TIMEOUT_S = 60.0
"""How long a SQLite writer waits for another one. Writes take milliseconds."""

_WRITE = "winnow_write"
_MAKING_TABLES = 0x77696E6E6F77
"""The key of a Postgres advisory lock: "winnow" in ASCII."""


class DatabaseAwayError(InputError):
    """The database does not answer; workers retry for a while (`retry.py`)."""


class NoStudiesError(InputError):
    """There is no database, or it never held a study."""


class Database:
    """The engine of all transactions. `create` makes the database and its tables.

    Raises:
        InputError: the database cannot be opened, or not written although `create` is set.
        NoStudiesError: it never held a study, and `create` is not set.
        DatabaseAwayError: it does not answer.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self.url = with_driver(url)
        parsed = make_url(self.url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            _check_file(Path(parsed.database), create=create)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            self.engine = _create(self.url, self.is_sqlite) if create else _open(self.url, self.is_sqlite)
        except ImportError as error:
            raise InputError(
                "the study's storage (WINNOW_STORAGE)",
                expected="a database whose driver is installed",
                found=f"{parsed.get_backend_name()} without its driver ({error})",
                remedy="Install it, for Postgres with `pip install 'winnow[postgres]'`.",
            ) from error
        except (sa.exc.DatabaseError, StorageInternalError) as error:
            raise (DatabaseAwayError if _is_away(error) else InputError)(
                "the study's storage (WINNOW_STORAGE)",
                expected="a database that answers and can be written",
                found=f"{parsed.render_as_string(hide_password=True)}: {first_line(error)}",
                remedy="Start it, or correct its address and rights.",
            ) from error
        _listen(self.engine, self.is_sqlite)
        self._writer = self.engine.execution_options(**{_WRITE: True})
        # SQLite's transactions read one snapshot; at Postgres' default level every statement sees later commits.
        self._reader = self.engine.execution_options(
            **({} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"})
        )

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that holds the write lock from its start; commits at the end, rolls back on an error."""
        with self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that reads one snapshot."""
        with self._reader.connect() as connection:
            yield connection

    @functools.cached_property
    def has_out_of_fold(self) -> bool:
        """Whether the database has the table of out-of-fold predictions; as for curves, a sweep makes it."""
        return sa.inspect(self.engine).has_table(out_of_fold.name)

    @functools.cached_property
    def has_curves(self) -> bool:
        """Whether the database has the table of learning curves, which the first sweep of this version makes."""
        return sa.inspect(self.engine).has_table(curves.name)

    def now(self, connection: Connection) -> float:
        """Seconds since the epoch by the database's clock, which measures all leases."""
        return float(connection.execute(sa.select(self.clock)).scalar_one())

    @property
    def clock(self) -> sa.ColumnElement[float]:
        """`now` as an SQL expression."""
        seconds = (
            "(julianday('now') - 2440587.5) * 86400.0" if self.is_sqlite else "EXTRACT(EPOCH FROM clock_timestamp())"
        )
        return sa.literal_column(seconds, sa.Double)

    def for_optuna(self) -> RDBStorage:
        """The same database as Optuna's own storage, for programs that read a study through Optuna's API."""
        return RDBStorage(self.url, engine_kwargs=_engine_kwargs(self.is_sqlite), skip_table_creation=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _open(url: str, is_sqlite: bool) -> Engine:
    with _locked(url, is_sqlite, is_shared=True):
        engine = sa.create_engine(url, **_engine_kwargs(is_sqlite))
        # A process that was killed while it made tables leaves a file that lacks some.
        if not set(sa.inspect(engine).get_table_names()) >= optuna_tables.NAMES:
            engine.dispose()
            raise NoStudiesError(
                f"the study's storage, {make_url(url).render_as_string(hide_password=True)}",
                expected="a database that holds studies",
                found="a database without studies",
                remedy=f"Run `{next_command('train', config=...)}` first.",
            )
        return engine


def _create(url: str, is_sqlite: bool) -> Engine:
    """Open the database and make its tables, one process at a time: two that make the same table at once fail."""
    with _locked(url, is_sqlite, is_shared=False):
        if not (is_sqlite and _make_file(url)):
            storage = RDBStorage(url, engine_kwargs=_engine_kwargs(is_sqlite))
            storage.remove_session()
            storage.engine.dispose()
        engine = sa.create_engine(url, **_engine_kwargs(is_sqlite))
        metadata.create_all(engine)
        return engine


def _locked(url: str, is_sqlite: bool, *, is_shared: bool) -> contextlib.AbstractContextManager[None]:
    """Let one process at a time make tables, and let none open the file meanwhile."""
    file = make_url(url).database
    if is_sqlite and file:
        return locked(Path(f"{file}.lock"), is_shared=is_shared)
    return contextlib.nullcontext() if is_sqlite or is_shared else _locked_server(url)


@contextlib.contextmanager
def _locked_server(url: str) -> Iterator[None]:
    """Hold a lock of the Postgres server, which ends with its transaction."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=_engine_kwargs(False)["connect_args"])
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_TABLES)))
        yield


def _engine_kwargs(is_sqlite: bool) -> dict[str, Any]:
    if is_sqlite:
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}


def _check_file(path: Path, *, create: bool) -> None:
    """Raise if the file does not exist, or cannot be made or written."""
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        refusal = probe(path)
        if refusal is not None:
            raise _unwritable(path, refusal) from refusal
        return
    if not path.is_file():
        raise NoStudiesError(
            str(path),
            expected="the study's database",
            found="no such file",
            remedy=f"Run `{next_command('train', config=...)}` first, or set WINNOW_HOME to the folder that holds it.",
        )


def _unwritable(path: Path, error: OSError) -> InputError:
    return disk_fault(error, home_of(), path) or InputError(
        str(path),
        expected="a place where the study's database can be written",
        found=error.strerror or str(error),
        remedy="Make room or give write access there, or set WINNOW_HOME to another folder.",
    )


def _make_file(url: str) -> bool:
    """Make Optuna's tables in an empty file; return whether the file has those of the installed Optuna.

    Optuna would import Alembic for this, which takes a quarter of a second.
    """
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, poolclass=sa.NullPool)
    with engine.connect() as connection:
        # The file keeps this setting: readers and a writer do not wait for each other.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    with engine.begin() as connection:
        if not sa.inspect(connection).get_table_names():
            optuna_tables.make_tables(connection)
        return optuna_tables.are_current(connection)


def _listen(engine: Engine, is_sqlite: bool) -> None:
    if not is_sqlite:
        return

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        # The driver would begin transactions at the first write. SQLAlchemy's recipe against that:
        # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes
        connection.isolation_level = None
        # Commits survive the process. A power cut can lose the last ones, but not damage the file (WAL).
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    # The listeners serve new connections only.
    engine.dispose()


def _is_away(error: BaseException) -> bool:
    # Optuna wraps SQLAlchemy's errors while it opens its tables.
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, sa.exc.OperationalError)


def first_line(error: BaseException) -> str:
    """The first line of the error that caused this one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]

"""The answer of a database to a query as a DataFrame, by SQLAlchemy.

Queries run in transactions that may only read, where the database has such. Passwords come from environment variables
that the address names (`postgresql://me:${DB_PASSWORD}@host/db`) or from the database's own settings (PGPASSWORD,
~/.pgpass), never from the experiment file.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from winnow.config.addresses import STARS, with_driver, without_password
from winnow.config.errors import InputError
from winnow.config.functions import SQLITE
from winnow.config.nearest import did_you_mean
from winnow.data.refusals import refuse_double_names
from winnow.data.table_files import no_such_file
from winnow.data.urls import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    import pyarrow as pa
    from sqlalchemy import Connection, Engine

SOURCE, QUERY = "data.source", "data.query"
DIALECTS = (
    "postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "duckdb", "snowflake", "redshift", "trino",
    "clickhouse",
)  # fmt: skip
PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "pymysql": "PyMySQL"}
ROWS_AT_ONCE = 50_000
TABLE = re.compile(r"\w+(\.\w+)?")


def is_database(source: str) -> bool:
    """Whether a source names a database."""
    return source.startswith(SQLITE) or ("://" in source and urlsplit(source).scheme.split("+")[0] in DIALECTS)


def sqlite_path(source: str) -> str | None:
    """The file of `sqlite:PATH` and `sqlite:///PATH`; None for other sources."""
    return re.sub("^///", "", source.removeprefix(SQLITE)) if source.startswith(SQLITE) else None


def name_of_database(source: str) -> str:
    """The name of the database, for display."""
    path = sqlite_path(source)
    parts = urlsplit(source)
    return PurePosixPath(path if path is not None else parts.path).name or str(parts.hostname)


def read_query(address: str, query: str | None) -> pd.DataFrame:
    """What a database answers; columns have its types.

    Args:
        address: with the values of its variables.
        query: SQL, or a table's name.

    Raises:
        InputError: a driver that is not installed, a database that does not answer, no query, one that fails, gives
            no rows, or two columns of one name.
    """
    import pandas as pd
    from sqlalchemy.exc import SQLAlchemyError

    engine, shown = _engine(address), name_of_database(address)
    try:
        with _connected(engine, address, shown) as connection:
            statement = _statement(connection, query, shown)
            # Without parameters, drivers leave `%` and `:name` in the query as they are.
            plain = connection.execution_options(no_parameters=True)
            frame = pd.read_sql_query(statement, plain, dtype_backend="numpy_nullable").rename(columns=str)
    except (SQLAlchemyError, sqlite3.Error, pd.errors.DatabaseError) as error:
        # pandas wraps some errors of SQLAlchemy.
        raise _failed(error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error, shown) from error
    finally:
        engine.dispose()
    refuse_double_names(frame.columns, shown)
    if not len(frame):
        remedy = "Correct its conditions, or the database."
        raise InputError(QUERY, expected=f"rows of {shown}", found="a query that returns nothing", remedy=remedy)
    return frame


def query_parts(address: str, query: str | None, by: str | None, after: Any) -> Iterator[pa.RecordBatch]:
    """What a database answers, in parts, of which each has the types of its own values; at least one, perhaps empty.

    Args:
        address: with the values of its variables.
        query: SQL, or a table's name.
        by: column to order the rows by, which has no nulls; None: in the query's own order.
        after: only rows with a greater value in that column; None: all rows.

    Raises:
        InputError: as `read_query`; no such column, a null in it, or a column whose values have no common type.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    engine, shown = _engine(address), name_of_database(address)
    try:
        with _connected(engine, address, shown) as connection:
            statement = _statement(connection, query, shown)
            streamed = connection.execution_options(stream_results=True, max_row_buffer=ROWS_AT_ONCE)
            # Without parameters, drivers leave `%` and `:name` in the query as they are.
            plain = streamed.execution_options(no_parameters=True)
            if by is not None:
                rows = f"SELECT * FROM ({statement.strip().rstrip(';')}\n) AS winnow_rows"
                names = list(plain.exec_driver_sql(f"{rows} WHERE 1 = 0").keys())
                if by not in names:
                    expected = f"a column that the query to {shown} gives"
                    remedy = did_you_mean(by, names) or f"Its columns are {', '.join(names[:12])}."
                    raise InputError("data.by", expected=expected, found=f"'{by}'", remedy=remedy)
                column = connection.dialect.identifier_preparer.quote(by)
                statement = f"{rows} ORDER BY {column}"
            if after is None:
                result = plain.exec_driver_sql(statement)
            else:
                escaped = (part.replace(":", r"\:") for part in (rows, column))
                newer = "{0} WHERE {1} > :after OR {1} IS NULL ORDER BY {1}".format(*escaped)
                result = streamed.execute(text(newer), {"after": after})
            names = list(result.keys())
            refuse_double_names(names, shown)
            yield _batch(names, [], by, shown)
            for block in result.partitions(ROWS_AT_ONCE):
                yield _batch(names, block, by, shown)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _failed(error, shown) from error
    finally:
        engine.dispose()


def _batch(names: list[str], rows: Sequence[Any], by: str | None, shown: str) -> pa.RecordBatch:
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = []
    for name, values in zip(names, columns, strict=True):
        try:
            array = pa.array(values)
            is_extension = isinstance(array.type, pa.BaseExtensionType)  # a UUID
            arrays.append(pa.array([each and str(each) for each in values]) if is_extension else array)
        except (pa.ArrowException, OverflowError) as error:
            remedy = f"Give it one with CAST({name} AS …) in the query."
            expected, found = f"values of one type in column '{name}' of {shown}", f"'{first_line(error)}'"
            raise InputError(QUERY, expected=expected, found=found, remedy=remedy) from error
    if by is not None and arrays[names.index(by)].null_count and rows:
        expected, remedy = f"a value in every row of column '{by}'", "Name another column, or leave such rows out."
        raise InputError("data.by", expected=expected, found="a null", remedy=remedy)
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _engine(address: str) -> Engine:
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    path = sqlite_path(address)
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise no_such_file(file, "no such file")
        uri = f"file:{quote(str(file.absolute()))}?mode=ro"
        return create_engine("sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=NullPool)
    scheme = urlsplit(address).scheme
    try:
        return create_engine(with_driver(address), poolclass=NullPool)
    except ModuleNotFoundError as error:
        package = PACKAGES.get(str(error.name), str(error.name))
        raise _no_driver(scheme, f"the package {error.name}", f"Install it: pip install {package}.") from error
    except NoSuchModuleError as error:
        remedy = f"Install the package that adds `{scheme}` to SQLAlchemy."
        raise _no_driver(scheme, "a dialect of SQLAlchemy", remedy) from error
    except (ArgumentError, ValueError) as error:
        expected = f"an address such as {scheme}://USER:${{PASSWORD}}@HOST/DATABASE"
        remedy = "Correct the address."
        raise InputError(SOURCE, expected=expected, found=f"'{first_line(error)}'", remedy=remedy) from error


def _connected(engine: Engine, address: str, shown: str) -> Connection:
    """A connection that may only read, where the database has such. Raises InputError without the password."""
    from sqlalchemy.exc import DBAPIError

    try:
        connection = engine.connect()
    except DBAPIError as error:
        found = without_password(first_line(error.orig or error))
        password = urlsplit(address).password
        raise InputError(
            SOURCE,
            expected=f"to connect to {shown}",
            found=f"'{found.replace(password, STARS) if password else found}'",
            remedy="Check the address, the credentials and the network.",
        ) from error
    is_postgres = engine.dialect.name == "postgresql"
    return connection.execution_options(postgresql_readonly=True) if is_postgres else connection


def _no_driver(scheme: str, what: str, remedy: str) -> InputError:
    return InputError(
        SOURCE, expected=f"{what} that reads {scheme}://", found="that it is not installed", remedy=remedy
    )


def _statement(connection: Connection, query: str | None, shown: str) -> str:
    """The query; a table's name becomes one that reads it whole."""
    if query is not None and not TABLE.fullmatch(query.strip()):
        return query
    tables = _tables(connection)
    if query is None:
        raise InputError(
            QUERY,
            expected=f"a query, or the name of a table of {shown}",
            found="nothing",
            remedy=f"Set `data.query: SELECT … FROM {tables[0] if tables else 'TABLE'}`.{_listed(tables)}",
        )
    parts = query.strip().split(".")
    if len(parts) == 1 and parts[0] not in tables:
        remedy = did_you_mean(parts[0], tables) or f"Correct the name.{_listed(tables)}"
        raise InputError(QUERY, expected=f"the name of a table of {shown}", found=f"'{parts[0]}'", remedy=remedy)
    quoted = (connection.dialect.identifier_preparer.quote(part) for part in parts)
    return f"SELECT * FROM {'.'.join(quoted)}"


def _tables(connection: Connection) -> list[str]:
    from sqlalchemy import inspect

    inspector: Any = inspect(connection)
    return sorted([*inspector.get_table_names(), *inspector.get_view_names()])


def _listed(tables: list[str]) -> str:
    return f" It has {', '.join(tables[:12])}{', …' if len(tables) > 12 else ''}." if tables else " It has no tables."


def _failed(error: BaseException, shown: str) -> InputError:
    """The error about a query, in the driver's own words."""
    from sqlalchemy.exc import ResourceClosedError

    if isinstance(error, ResourceClosedError):
        expected, remedy = f"a query that reads rows of {shown}", "Write a SELECT."
        return InputError(QUERY, expected=expected, found="one without rows", remedy=remedy)
    found = f"'{first_line(getattr(error, 'orig', None) or error)}'"
    return InputError(QUERY, expected=f"a query that {shown} answers", found=found, remedy="Correct the query.")

"""The databases in which the contracts of studies are kept.

SQLite always; Postgres where WINNOW_TEST_POSTGRES names a server on which databases may be created, such as
`postgresql://postgres@127.0.0.1:5432`; and with a Docker engine the stack's Postgres, as the role that sweeps have.
Postgres is asked through both drivers that the extra `postgres` offers.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.study.studies import url

SERVER = os.environ.get("WINNOW_TEST_POSTGRES")
DRIVERS = ("psycopg", "psycopg2")
KINDS = (
    "sqlite",
    *(f"postgres-{driver}" for driver in DRIVERS),
    *(pytest.param(f"stack-{driver}", marks=pytest.mark.docker) for driver in DRIVERS),
)


@pytest.fixture(scope="package")
def stack_studies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the studies' database of a stack that is up."""
    from tests.docker.stacks import running_stack
    from winnow.config.settings import Settings
    from winnow.platforms.docker.client import connect

    engine = connect()
    with running_stack(engine, tmp_path_factory.mktemp("stack")) as stack:
        yield Settings.from_environment(stack.env).storage_url
    engine.close()


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database of its own, without tables."""
    kind, _, driver = request.param.partition("-")
    if kind == "sqlite":
        yield url(tmp_path)
        return
    if kind == "stack":
        yield emptied(with_other_driver(request.getfixturevalue("stack_studies"), driver))
        return
    if SERVER is None:
        pytest.skip("WINNOW_TEST_POSTGRES names no server")
    name = f"winnow_test_{uuid.uuid4().hex[:12]}"
    server = sa.make_url(with_other_driver(SERVER, driver))
    engine = sa.create_engine(server.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


def with_other_driver(address: str, driver: str) -> str:
    """A Postgres address that names `driver`."""
    return f"postgresql+{driver}://{address.partition('://')[2]}"


def emptied(address: str) -> str:
    """A database without the tables that a test has left; its owner may do that, and no role of a sweep's may more."""
    engine = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()
    return address

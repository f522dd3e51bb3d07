"""Addresses: their drivers and passwords."""

from __future__ import annotations

import pytest

from winnow.config.addresses import with_driver, with_password, without_password


def test_a_plain_address_gets_the_driver_that_is_installed() -> None:
    assert with_driver("postgresql://u:p@host/db") == "postgresql+psycopg://u:p@host/db"
    assert with_driver("postgres://host/db") == "postgresql+psycopg://host/db"
    assert with_driver("mysql://host/db") == "mysql+pymysql://host/db"
    assert with_driver("postgresql+psycopg2://host/db") == "postgresql+psycopg2://host/db"
    assert with_driver("sqlite:///a.db") == "sqlite:///a.db"


def test_a_password_comes_before_the_host() -> None:
    assert with_password("postgresql://me@host:1/db", "a-b") == "postgresql://me:a-b@host:1/db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:a@b:c@h:1/d", "postgresql://me:***@h:1/d"),
        ("postgresql://me@h/d", "postgresql://me@h/d"),
        ("postgresql://me:a/b@h/d", "postgresql://me:***@h/d"),
        ("postgresql://h/d?user=me&password=a", "postgresql://h/d?user=me&password=***"),
        ("http://h:5000", "http://h:5000"),
        ("sqlite:////srv/a:b@c.db", "sqlite:////srv/a:b@c.db"),
        ("studies.db", "studies.db"),
        ("one=http://a:b@c two=http://d:e@f", "one=http://a:***@c two=http://d:***@f"),
        ("postgresql://me:s3/c@r@et@db/studies", "postgresql://me:***@db/studies"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown

"""Addresses of databases and servers: default drivers, names of this machine, and masked secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

# Without brackets: with them, httpx refuses to make a client at all.
OWN_HOSTS = ("localhost", ".localhost", "127.0.0.1", "::1", "0.0.0.0")  # nosec B104 (compared with)
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
# Up to the last @: passwords may contain characters that are invalid in addresses, and masking too much is harmless.
_PASSWORD = re.compile(r"(://[^:/@\s]*):\S*@")
_SECRET_NAME = re.compile(
    r"(?i)(^|[_.-])(api_?key|access_?key|private_?key|key|token|secret|password|passwd|passphrase|pwd|credentials?)($|[_.-])"
)
STARS = "***"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
# Digits and a slash after a host's colon are its port.
_PASSWORD_GIVEN = re.compile(r"://[^:/@\s]*:(?!\d+(/|$))[^@\s]+@|(?i:password)=[^&\s]+")
_PASSWORD_OPTION = re.compile(r"(?i)(password=)[^&\s]*")


def with_driver(url: str) -> str:
    """The address with the driver that winnow installs, unless it names one.

    SQLAlchemy before 2.1 uses psycopg2 for a plain `postgresql://`, and every version uses mysqlclient for `mysql://`.
    """
    scheme, found, rest = url.partition("://")
    return f"{_DRIVERS[scheme]}://{rest}" if found and scheme in _DRIVERS else url


def with_password(url: str, password: str) -> str:
    """`postgresql://me@host/db` with a password, which must not need quoting in a URL."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def reached(url: str) -> tuple[str, dict[str, str]]:
    """The address to connect to, and a `Host` header with the original one if they differ.

    Names below `localhost` are this machine's (RFC 6761, 6.3). curl and browsers know this, but some resolvers do not.
    """
    parts = urlsplit(url)
    if not (parts.hostname or "").endswith(".localhost"):
        return url, {}
    here = f"localhost:{parts.port}" if parts.port else "localhost"
    return urlunsplit(parts._replace(netloc=here)), {"host": parts.netloc}


def own_addresses_directly(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that make HTTP clients reach this machine's own addresses without a proxy.

    urllib, requests and httpx read `no_proxy` first, and do not exclude this machine by themselves.
    """
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if given.strip() == "*":
        return {}
    hosts = [host.strip() for host in given.split(",") if host.strip()]
    text = ",".join(dict.fromkeys([*hosts, *OWN_HOSTS]))
    return {"no_proxy": text, "NO_PROXY": text}


def without_password(text: str) -> str:
    """An address, or a text with addresses, with its passwords masked."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def holds_password(address: str) -> bool:
    """Whether an address has a password; `${NAME}` in its place is none."""
    return _PASSWORD_GIVEN.search(_VARIABLE.sub("", address)) is not None


def with_variables(text: str, environment: Mapping[str, str]) -> str:
    """The text with the values of the environment variables that it names as `${NAME}`.

    Raises:
        KeyError: one of them is not set.
    """
    return _VARIABLE.sub(lambda found: environment[found[1]], text)


def shown_value(name: str, value: str) -> str:
    """A variable's value for display or storage: masked if its name is that of a secret."""
    return STARS if value and name != "PWD" and _SECRET_NAME.search(name) else without_password(value)

"""Limits of replicas as a person writes them in the environment, in the same notation on every platform."""

from __future__ import annotations

import math
from collections.abc import Mapping

from winnow.config.errors import InputError
from winnow.config.quantities import bytes_of

CPUS, MEMORY = "WINNOW_REPLICA_CPUS", "WINNOW_REPLICA_MEMORY"
"""Environment variables with the limits of one replica."""

REQUESTS = {
    "WINNOW_MAX_BODY_BYTES": 1.0,
    "WINNOW_MAX_ROWS": 1.0,
    "WINNOW_MAX_HEADER_BYTES": 1024.0,
    "WINNOW_MAX_CONNECTIONS": 1.0,
    "WINNOW_MAX_INFLIGHT_BYTES": 1.0,
    "WINNOW_HEADER_TIMEOUT_S": 0.1,
    "WINNOW_BODY_TIMEOUT_S": 0.1,
}
"""The server's own limits of its clients, which are passed to replicas unchanged, each with its least value."""

_MOST_CPUS = 1024


def cpus_of(name: str, text: str, least: float) -> float:
    """CPUs, such as `0.5` or `500m`. Raises InputError, with the variable's name, where it is no such number."""
    try:
        cpus = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        cpus = 0.0
    if not least <= cpus <= _MOST_CPUS:
        raise wrong(name, "a number of CPUs, such as 0.5", text)
    return cpus


def memory_of(name: str, text: str, least: int) -> int:
    """Bytes, such as `512Mi`. Raises InputError, with the variable's name, where it is no such amount."""
    try:
        amount = bytes_of(text)
    except ValueError:
        amount = 0
    if amount < least:
        raise wrong(name, "an amount such as 512Mi or 1Gi", text)
    return amount


def check_requests(environment: Mapping[str, str]) -> None:
    """Refuse a limit of requests that the server does not accept: every new replica would end at once.

    Raises:
        InputError: one of `REQUESTS` is no number, or too small a one.
    """
    for name, least in REQUESTS.items():
        text = environment.get(name, "")
        try:
            number = float(text or least)
        except ValueError:
            number = 0.0
        if not least <= number < math.inf:
            raise wrong(name, f"a number of at least {least:g}", text)


def wrong(name: str, expected: str, found: str) -> InputError:
    """The error for a variable that is not what it should be."""
    return InputError(name, expected=expected, found=f"'{found}'", remedy="Correct or unset it.")

"""How one server runs, read from the environment: an image is configured from outside. No setting changes answers.

Deployers give all settings at once, as JSON in `WINNOW_SERVING` or in a file that `WINNOW_SERVING_FILE` names
(`routing.server_settings` writes it). A setting that is not in it is the single variable's, else the default, so that
`docker run -e WINNOW_MAX_ROWS=10 IMAGE` works.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from winnow.routing import FeatureSettings, PredictionLogSettings
from winnow.serving.signature import MOST_ROWS

_T = TypeVar("_T")

KIBIBYTE, MEBIBYTE = 2**10, 2**20


@dataclass(frozen=True)
class ServingSettings:
    """Limits and behaviour of one server.

    Attributes:
        max_body_bytes: larger bodies are answered with 413 (`WINNOW_MAX_BODY_BYTES`).
        max_rows: more rows in one request are answered with 413 (`WINNOW_MAX_ROWS`).
        max_header_bytes: larger heads are answered with 431 (`WINNOW_MAX_HEADER_BYTES`).
        max_connections: further ones replace unused ones, or are answered with 429 (`WINNOW_MAX_CONNECTIONS`).
        max_inflight_bytes: while bodies and unread answers take so much, further large bodies are answered with 429
            (`WINNOW_MAX_INFLIGHT_BYTES`, by default four times the largest body).
        header_timeout_s: a head that takes longer is answered with 408 (`WINNOW_HEADER_TIMEOUT_S`).
        body_timeout_s: so is a body; an answer that is not read for as long is dropped (`WINNOW_BODY_TIMEOUT_S`).
        settle_s: how long a stopping server goes on answering while load balancers notice (`WINNOW_SETTLE_S`).
        drain_s: how long requests may then take to end (`WINNOW_DRAIN_S`).
        is_access_logged: one JSON line per request on standard output (`WINNOW_ACCESS_LOG=1`).
        log: what is logged of predictions; None for nothing (in WINNOW_SERVING alone).
        features: where features are looked up; None for nowhere (in WINNOW_SERVING alone).
        api_key: guards the predicting routes if set (`WINNOW_API_KEY`, or `WINNOW_API_KEY_FILE` with its path).
    """

    max_body_bytes: int = 32 * MEBIBYTE
    max_rows: int = MOST_ROWS
    settle_s: float = 5.0
    drain_s: float = 30.0
    is_access_logged: bool = False
    api_key: bytes | None = None
    max_header_bytes: int = 64 * KIBIBYTE
    max_connections: int = 1_000
    max_inflight_bytes: int = 4 * 32 * MEBIBYTE
    header_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    log: PredictionLogSettings | None = None
    features: FeatureSettings | None = None


class SettingError(ValueError):
    """A setting with a wrong value."""

    def __init__(self, name: str, expected: str, found: str) -> None:
        super().__init__(f"{name}: expected {expected}, found {found}. Correct or unset it.")


LEAST = {
    "max_body_bytes": 1,
    "max_rows": 1,
    "settle_s": 0,
    "drain_s": 0,
    "max_header_bytes": 1024,
    "max_connections": 1,
    "header_timeout_s": 0.1,
    "body_timeout_s": 0.1,
}
"""The least value of each number but `max_inflight_bytes`, which is at least `max_body_bytes`."""


def from_environment(environment: Mapping[str, str] = os.environ) -> ServingSettings:
    """The settings that the environment asks for. Raises SettingError where a variable has a wrong value."""
    given = _given(environment)
    numbers = {
        field: _number(given, environment, field, getattr(ServingSettings, field), LEAST[field]) for field in LEAST
    }
    body = numbers["max_body_bytes"]
    log = _section(given, "log", PredictionLogSettings)
    if log is not None and not 0 < log.sample <= 1:
        raise SettingError(f"log.sample in {SERVING}", "a share above 0, up to 1", repr(log.sample))
    return ServingSettings(
        **numbers,
        max_inflight_bytes=_number(given, environment, "max_inflight_bytes", 4 * body, body),
        is_access_logged=given.get(
            "is_access_logged", environment.get("WINNOW_ACCESS_LOG", "") in ("1", "true", "yes")
        ),
        api_key=_api_key(environment),
        log=log,
        features=_section(given, "features", FeatureSettings),
    )


SERVING, SERVING_FILE = "WINNOW_SERVING", "WINNOW_SERVING_FILE"
_KEYS = ("is_access_logged", "log", "features", "max_inflight_bytes", *LEAST)


def _given(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that are given as one JSON text."""
    name, text = SERVING, environment.get(SERVING, "")
    if not text and environment.get(SERVING_FILE):
        name, path = SERVING_FILE, environment[SERVING_FILE]
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise SettingError(name, "a readable file", f"{path!r} ({error.strerror})") from error
    if not text:
        return {}
    try:
        given = msgspec.json.decode(text, type=dict[str, bool | float | dict[str, Any]])
    except msgspec.MsgspecError as error:
        expected = "a JSON object of numbers, booleans, `log` and `features`"
        raise SettingError(name, expected, f"something else ({error})") from error
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise SettingError(name, f"keys among {', '.join(sorted(_KEYS))}", repr(unknown[0]))
    if not isinstance(given.get("is_access_logged", False), bool):
        raise SettingError(f"is_access_logged in {name}", "true or false", repr(given["is_access_logged"]))
    return given


def _section(given: Mapping[str, Any], name: str, kind: type[_T]) -> _T | None:
    if given.get(name) is None:
        return None
    try:
        return msgspec.convert(given[name], kind)
    except msgspec.ValidationError as error:
        raise SettingError(f"{name} in {SERVING}", f"an object of {kind.__name__}", str(error)) from error


def _number(given: Mapping[str, Any], environment: Mapping[str, str], field: str, default: float, least: float) -> Any:
    """The setting's number, of the default's type."""
    name = f"{field} in {SERVING}" if field in given else f"WINNOW_{field.upper()}"
    found = given[field] if field in given else environment.get(name, "")
    if found == "":
        return default
    try:
        value = float("nan") if isinstance(found, bool) else float(found)
    except (TypeError, ValueError):
        value = float("nan")
    if not least <= value < float("inf"):
        raise SettingError(name, f"a number of at least {least:.12g}", repr(found))
    return type(default)(value)


def _api_key(environment: Mapping[str, str]) -> bytes | None:
    path = environment.get("WINNOW_API_KEY_FILE", "")
    try:
        text = Path(path).read_text(encoding="utf-8") if path else environment.get("WINNOW_API_KEY", "")
    except OSError as error:
        found = f"{path!r} ({error.strerror})"
        raise SettingError("WINNOW_API_KEY_FILE", "a readable file", found) from error
    key = text.strip().encode()
    if path and not key:
        raise SettingError("WINNOW_API_KEY_FILE", f"a key in {path!r}", "an empty file")
    return key or None

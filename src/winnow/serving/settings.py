"""How one server runs: from arguments and environment variables into frozen values.

Each setting is an environment variable, since an image is configured from outside, and a command-line option, since a
person is. What is predicted depends on none of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.serving.signature import MOST_ROWS

MEBIBYTE = 2**20


@dataclass(frozen=True)
class ServingSettings:
    """Limits and behaviour of one server.

    Attributes:
        max_body_bytes: larger bodies are answered with 413 (`WINNOW_MAX_BODY_BYTES`).
        max_rows: more rows in one request are answered with 413 (`WINNOW_MAX_ROWS`).
        settle_s: how long a stopping server goes on answering while load balancers notice (`WINNOW_SETTLE_S`).
        drain_s: how long requests may then take to end (`WINNOW_DRAIN_S`).
        is_access_logged: one JSON line per request on standard output (`WINNOW_ACCESS_LOG=1`).
        api_key: guards the predicting routes where set (`WINNOW_API_KEY`, or `WINNOW_API_KEY_FILE` with its path).
    """

    max_body_bytes: int = 32 * MEBIBYTE
    max_rows: int = MOST_ROWS
    settle_s: float = 5.0
    drain_s: float = 30.0
    is_access_logged: bool = False
    api_key: bytes | None = None


class SettingError(ValueError):
    """A setting that cannot be read; the message names it and says what would be right."""


def from_environment(environment: Mapping[str, str] = os.environ) -> ServingSettings:
    """The settings that the environment asks for.

    Raises:
        SettingError: a variable is not what it should be.
    """
    default = ServingSettings()
    return ServingSettings(
        max_body_bytes=int(_number(environment, "WINNOW_MAX_BODY_BYTES", default.max_body_bytes, least=1)),
        max_rows=int(_number(environment, "WINNOW_MAX_ROWS", default.max_rows, least=1)),
        settle_s=_number(environment, "WINNOW_SETTLE_S", default.settle_s, least=0),
        drain_s=_number(environment, "WINNOW_DRAIN_S", default.drain_s, least=0),
        is_access_logged=environment.get("WINNOW_ACCESS_LOG", "") in ("1", "true", "yes"),
        api_key=_api_key(environment),
    )


def _number(environment: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise SettingError(
            f"{name}: expected a number of at least {least:g}, found {text!r}. Set it to one or unset it."
        )
    return value


def _api_key(environment: Mapping[str, str]) -> bytes | None:
    path = environment.get("WINNOW_API_KEY_FILE", "")
    try:
        text = Path(path).read_text(encoding="utf-8") if path else environment.get("WINNOW_API_KEY", "")
    except OSError as error:
        raise SettingError(
            f"WINNOW_API_KEY_FILE: expected a readable file, found {path!r} ({error.strerror})."
        ) from error
    key = text.strip().encode()
    if path and not key:
        raise SettingError(f"WINNOW_API_KEY_FILE: expected a key in {path!r}, found an empty file.")
    return key or None

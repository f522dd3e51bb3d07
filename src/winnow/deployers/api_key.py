"""The API key that replicas get from a file of whoever deploys, the same on every tier that runs images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError

FILE = "WINNOW_API_KEY_FILE"


def key_file(environment: Mapping[str, str]) -> str | None:
    """What the file with the API key holds; None where none is named. Raises InputError where it cannot be read."""
    path = environment.get(FILE)
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            FILE,
            expected="a readable file with the API key",
            found=f"'{path}' ({(error.strerror or str(error)).lower()})",
            remedy="Correct or unset it.",
        ) from error

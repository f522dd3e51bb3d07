"""The API key that replicas ask for, which a person may keep in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError

API_KEY, FILE = "WINNOW_API_KEY", "WINNOW_API_KEY_FILE"


def key_file(environment: Mapping[str, str]) -> str | None:
    """The API key in the file that is named; None where none is.

    Raises:
        InputError: it cannot be read, or is empty. No model is served without a key for a file that is not there yet.
    """
    path = environment.get(FILE)
    if not path:
        return None
    try:
        key = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _no_key(path, (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise _no_key(path, "no text") from error
    if not key:
        raise _no_key(path, "empty")
    return key


def _no_key(path: str, found: str) -> InputError:
    return InputError(
        FILE,
        expected="a readable file with the API key",
        found=f"'{path}' ({found})",
        remedy="Correct it, or unset it; with WINNOW_API_KEY= no key is asked for.",
    )

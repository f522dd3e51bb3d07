"""The API key that replicas ask for, which a person may keep in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError

API_KEY, FILE = "WINNOW_API_KEY", "WINNOW_API_KEY_FILE"


def key_file(environment: Mapping[str, str]) -> str | None:
    """The API key in the file that is named; None where none is.

    No model is served without a key for a file that is not there yet: that raises InputError, as `key_in` does.
    """
    path = environment.get(FILE)
    return key_in(FILE, path, "Correct it, or unset it; with WINNOW_API_KEY= no key is asked for.") if path else None


def key_in(place: str, path: str, remedy: str) -> str:
    """The API key in a file. Raises InputError where it cannot be read, or is empty. `place`: what names the file."""
    try:
        key = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise _no_key(place, f"'{path}' ({(error.strerror or str(error)).lower()})", remedy) from error
    except UnicodeDecodeError as error:
        raise _no_key(place, f"'{path}' (no text)", remedy) from error
    if not key:
        raise _no_key(place, f"'{path}' (empty)", remedy)
    return key


def _no_key(place: str, found: str, remedy: str) -> InputError:
    return InputError(place, expected="a readable file with the API key", found=found, remedy=remedy)

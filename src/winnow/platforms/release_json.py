"""A release as JSON, the form in which platforms keep it: in a label, an annotation, a file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from winnow.routing import Release


def release_text(release: Release) -> str:
    """A release as JSON."""
    return msgspec.json.encode(release, enc_hook=str).decode()


def release_of(text: str) -> Release:
    """A release from JSON. Raises ValueError where it is none."""
    return msgspec.json.decode(text, type=Release, dec_hook=path_of)


def path_of(kind: type, value: object) -> Path:
    """`dec_hook` for what contains a release: a path is the one type in it that JSON does not have."""
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"expected a path, found {kind}")
    return Path(value)

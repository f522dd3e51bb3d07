"""How a registered version is written for people."""

from __future__ import annotations


def version_label(number: str, semantic: str) -> str:
    """A version's number in the registry and its semantic version: `3 (1.2.0)`; the number alone without the latter."""
    return f"{number} ({semantic})" if semantic else number

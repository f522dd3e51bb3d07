"""Names of objects that are made of a person's: as they are, or cut where the API would refuse them."""

from __future__ import annotations

import hashlib

_HASH = 8


def shortened(name: str, longest: int) -> str:
    """A name of at most so many characters; one that is cut is told from others by a hash of the whole."""
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    return f"{name[: longest - _HASH - 1].rstrip('-')}-{digest}"

"""Names of objects made from a person's names, cut where the API would refuse them."""

from __future__ import annotations

import hashlib

_HASH = 8


def shortened(name: str, longest: int) -> str:
    """A name of at most so many characters; a cut name ends with a hash of the whole, so that it stays unique."""
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    return f"{name[: longest - _HASH - 1].rstrip('-')}-{digest}"

"""Checks that every column name, class and group is unique, also to the eye.

Readers rename a second column of the same name (`target` becomes `target.1`), which can turn a copy of the target into
a feature. So column names are checked before a reader sees them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from winnow.config.errors import InputError

PLACE = "data.source"


def refuse_double_names(names: Iterable[str], source: str) -> None:
    """Refuse column names that are equal or look equal.

    Args:
        names: the names of all columns; "" is a column without a name and may repeat.
        source: the file or function, for the message.

    Raises:
        InputError: two names are equal or look equal, or a name is only white space.
    """
    given = [name for name in names if name]
    if not all(_visible(name) for name in given):
        expected = f"a name for every column of {source}"
        raise InputError(PLACE, expected=expected, found="a name of white space only", remedy="Name the column.")
    pair = _lookalikes(given)
    if pair is not None:
        raise InputError(
            PLACE,
            expected=f"a unique name for every column of {source}",
            found=f"two columns named '{pair[0]}'"
            if pair[0] == pair[1]
            else f"names that differ only in white space or invisible characters: {pair[0]!r} and {pair[1]!r}",
            remedy="Rename or remove one of them; a join leaves such copies.",
        )


def refuse_lookalikes(labels: Iterable[str], what: str, place: str, source: str) -> None:
    """Refuse distinct labels (`what` says of what: "classes") that a person cannot tell apart."""
    pair = _lookalikes(labels)
    if pair is not None:
        raise InputError(
            place,
            expected=f"{what} of {source} that a person can tell apart",
            found=f"{pair[0]!r} and {pair[1]!r}, which differ only in white space or invisible characters",
            remedy="Write them alike, or give them different names.",
        )


def _lookalikes(texts: Iterable[str]) -> tuple[str, str] | None:
    """The first two texts that differ at most in white space, a byte order mark or composed characters."""
    seen: dict[str, str] = {}
    for text in texts:
        key = _visible(text)
        if key in seen:
            return seen[key], text
        seen[key] = text
    return None


def _visible(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).replace("\ufeff", "").split())

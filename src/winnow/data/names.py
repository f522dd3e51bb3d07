"""Names of columns: each stands for one column, or the data is refused.

Readers rename a second column of the same name (`target` becomes `target.1`), which can turn a copy of the target into
a feature. Names are therefore checked before a reader sees them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from winnow.config.errors import InputError

PLACE = "data.source"


def refuse_double_names(names: Iterable[str], source: str) -> None:
    """Refuse names that are equal, or that look equal: white space, a byte order mark, composed characters.

    Args:
        names: of all columns; an empty one stands for a column without a name and may repeat.
        source: the file or function, for the message.

    Raises:
        InputError: two names are the same, or one is white space only.
    """
    given = [name for name in names if name]
    if not all(_visible(name) for name in given):
        raise InputError(
            PLACE,
            expected=f"a name for every column of {source}",
            found="a name of white space only",
            remedy="Name the column.",
        )
    pair = lookalikes(given)
    if pair is not None:
        raise InputError(
            PLACE,
            expected=f"a name of its own for every column of {source}",
            found=f"two columns named '{pair[0]}'"
            if pair[0] == pair[1]
            else f"names that differ only in white space or invisible characters: {pair[0]!r} and {pair[1]!r}",
            remedy="Rename or remove one of them; a join leaves such copies.",
        )


def lookalikes(texts: Iterable[str]) -> tuple[str, str] | None:
    """The first two texts that are equal, or that a person cannot tell apart."""
    seen: dict[str, str] = {}
    for text in texts:
        key = _visible(text)
        if key in seen:
            return seen[key], text
        seen[key] = text
    return None


def _visible(name: str) -> str:
    """What a person sees of a name."""
    return " ".join(unicodedata.normalize("NFC", name).replace("\ufeff", "").split())

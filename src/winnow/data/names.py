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
        InputError: two names are the same.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = _visible(name)
        if key and key in seen:
            is_same = name == seen[key]
            invisible = f"names that differ only in white space or invisible characters: {seen[key]!r} and {name!r}"
            raise InputError(
                PLACE,
                expected=f"a name of its own for every column of {source}",
                found=f"two columns named '{name}'" if is_same else invisible,
                remedy="Rename or remove one of them; a join leaves such copies.",
            )
        seen[key] = name


def _visible(name: str) -> str:
    """What a person sees of a name."""
    return " ".join(unicodedata.normalize("NFC", name).replace("\ufeff", "").split())

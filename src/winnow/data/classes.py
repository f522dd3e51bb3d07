"""Find the class that a person means by `yes`, `1` or `true`."""

from __future__ import annotations

from collections.abc import Sequence

from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean


def class_index(written: str | int | float | bool, classes: Sequence[str], place: str) -> int:
    """The index of a class by its name; `true` also finds `True`, and `1.0` finds `1`.

    Raises:
        InputError: there is no such class.
    """
    name = str(written)
    shown = name.lower() if isinstance(written, bool) else name
    whole = str(int(written)) if isinstance(written, float) and written.is_integer() else name
    # A key of a mapping arrives as text, also where it is a boolean in YAML.
    key = name.capitalize() if name in ("true", "false") else name
    for candidate in (name, shown, whole, key):
        if candidate in classes:
            return classes.index(candidate)
    known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
    hint = did_you_mean(shown.lower(), [one.lower() for one in classes])
    near = next((one for one in classes if hint == f"Did you mean '{one.lower()}'?"), None)
    remedy = f"Did you mean '{near}'?" if near is not None else "Name one of them."
    raise InputError(place, expected=f"one of the classes {known}", found=repr(shown), remedy=remedy)

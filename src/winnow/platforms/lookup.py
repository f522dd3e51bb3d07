"""Looking up the facts that a plan needs of a platform, with or without the platform."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TypeVar

from winnow.config.errors import InputError, UnavailableError, UnreachableError

Fact = TypeVar("Fact")
_REASON_LENGTH = 120


class Lookup:
    """Looks up facts. A plan that is only shown continues without a platform that is not there.

    Args:
        is_optional: use a placeholder where nothing answers, and add a line to `unknown`.

    Attributes:
        unknown: the facts that could not be looked up and why, a line each.
    """

    def __init__(self, *, is_optional: bool = False) -> None:
        self._is_optional = is_optional
        self.unknown: list[str] = []

    def __call__(self, what: str, ask: Callable[[], Fact], placeholder: Fact) -> Fact:
        """The fact, or its placeholder where nothing answers and the fact is optional; else the error is raised.

        `what`: the fact, as a line says it: "the image's id".
        """
        try:
            return ask()
        except (UnavailableError, UnreachableError) as error:
            if not self._is_optional:
                raise
            self.unknown.append(f"{what} ({_reason(error)})")
            return placeholder


def _reason(error: UnavailableError | UnreachableError) -> str:
    reason = f"{error.place}: found {error.found}" if isinstance(error, InputError) else str(error)
    return textwrap.shorten(reason, _REASON_LENGTH, placeholder=" …")

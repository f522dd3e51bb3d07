"""Suggestions for misspelled names."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The sentence `Did you mean 'KNOWN'?` for the closest known name, or an empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"Did you mean '{nearest[0]}'?" if nearest else ""

"""Names that a person chooses, and what the places that keep them accept."""

from __future__ import annotations

import re

from winnow.config.errors import InputError

LONGEST_STUDY = 63
"""Characters of a study's name: it becomes part of host names and of labels in a cluster (RFC 1123)."""

_LONGEST_SHOWN = 60
_STUDY = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def fault_in_study_name(name: str) -> str | None:
    """What a study's name has to be instead; None where it is right."""
    if len(name) > LONGEST_STUDY:
        return f"at most {LONGEST_STUDY} characters"
    if _STUDY.fullmatch(name) is None:
        return "lower-case letters, digits and dashes, with no dash at either end"
    return None


def check_study_name(name: str, place: str) -> str:
    """The name itself.

    Raises:
        InputError: no study can have it.
    """
    fault = fault_in_study_name(name)
    if fault is None:
        return name
    raise InputError(
        place, expected=fault, found=shown_text(name), remedy="It names the study, its runs, its model and its files."
    )


def shown_text(text: str) -> str:
    """A text in quotes, on one line; of a long one the beginning and the length."""
    if len(text) <= _LONGEST_SHOWN:
        return repr(text)
    return f"{text[:_LONGEST_SHOWN] + '…'!r}, which has {len(text)} characters"

"""Names that a user chooses, and what databases and clusters accept."""

from __future__ import annotations

import posixpath
import re

from winnow.config.errors import InputError

LONGEST_STUDY = 63
"""Longest name of a study, in characters: it becomes part of host names and labels in a cluster (RFC 1123)."""

LONGEST_PARAMETER = 200
"""Longest name of a parameter: MLflow stores 250 characters of `search.space.NAME.choice` and `param.NAME`."""

_LONGEST_RECORDED = 250
_LONGEST_SHOWN = 60
_UNFIT = re.compile(r"[^\w.\- /]")

_STUDY = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def fault_in_study_name(name: str) -> str | None:
    """What a study's name must be, if it is invalid; None if it is valid."""
    if len(name) > LONGEST_STUDY:
        return f"at most {LONGEST_STUDY} characters"
    if _STUDY.fullmatch(name) is None:
        return "lower-case letters, digits and dashes, with no dash at either end"
    return None


def check_study_name(name: str, place: str) -> str:
    """Return the name. Raise InputError if no study can have it."""
    fault = fault_in_study_name(name)
    if fault is None:
        return name
    raise InputError(
        place, expected=fault, found=shown_text(name), remedy="It names the study, its runs, its model and its files."
    )


def recorded_name(name: str) -> str:
    """A name that MLflow accepts for a parameter, a metric or a tag.

    Everything except letters, digits, `_ - . /` and spaces becomes `_`. So do dots and slashes in a path that is not in
    its shortest form (`a//b`, `/x`, `..`): MLflow refuses those, because names may become files.
    """
    kept = _UNFIT.sub("_", name)[:_LONGEST_RECORDED]
    return re.sub(r"[./]", "_", kept) or "_" if _is_crooked_path(kept) else kept


def is_recordable(name: str) -> bool:
    """Whether MLflow can record a parameter's name with at most single characters replaced."""
    return len(name) <= LONGEST_PARAMETER and not _is_crooked_path(_UNFIT.sub("_", name))


def _is_crooked_path(name: str) -> bool:
    return name == "." or name.startswith(("..", "/")) or posixpath.normpath(name) != name


def shown_text(text: str) -> str:
    """A text in quotes, on one line. A long one is cut, and its length is added."""
    if len(text) <= _LONGEST_SHOWN:
        return repr(text)
    return f"{text[:_LONGEST_SHOWN] + '…'!r}, which has {len(text)} characters"

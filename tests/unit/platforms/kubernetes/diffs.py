"""What settings change in planned manifests, as a diff that is short enough to be read."""

from __future__ import annotations

import difflib
from pathlib import Path


def diff(before: str, after: str) -> str:
    """The lines that differ, with one around them, without the numbers of lines that move with every change."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    return "".join(f"{'@@' if line.startswith('@@') else line}\n" for line in lines if line[:3] not in ("---", "+++"))


def kept(name: str) -> str:
    """A diff as it was looked at."""
    return (Path(__file__).parent / "planned" / name).read_text(encoding="utf-8")

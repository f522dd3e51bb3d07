"""Corrects the artifact locations of an SQLite store after its folder was moved or copied.

MLflow stores absolute locations. winnow keeps artifacts beside the database, in `artifacts/STUDY`. A location of that
form in another folder is outdated if the study's folder exists here. Other locations stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "artifacts"
"""The artifacts' folder beside the database."""

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""MLflow 3's columns of locations."""


def correct_locations(database: Path) -> None:
    """Make the store's locations name the files beside it; one query if nothing was moved.

    A database that is busy, read-only or not MLflow's stays as it is: its next reader reports the fault.
    """
    root = database.absolute().parent / ARTIFACTS
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=20, isolation_level=None)) as store:
            if not _roots_before(store, root):
                return
            store.execute("BEGIN IMMEDIATE")
            for before in _roots_before(store, root):  # another process may have corrected them
                _move(store, before, root.as_uri())
            store.execute("COMMIT")
    except sqlite3.DatabaseError:
        return


def roots_before(locations: Iterable[tuple[str, str]], root: Path) -> list[str]:
    """The artifact roots (URIs) from before the move.

    Args:
        locations: experiment names with artifact locations.
        root: the present artifact root.
    """
    roots = set()
    for name, location in locations:
        parts = urlsplit(location)
        place = Path(unquote(parts.path))
        is_ours = parts.scheme == "file" and (place.parent.name, place.name) == (ARTIFACTS, name)
        if is_ours and (root / name).is_dir() and place.parent.resolve() != root.resolve():
            roots.add(location.rstrip("/").rpartition("/")[0])
    return sorted(roots)


def _roots_before(store: sqlite3.Connection, root: Path) -> list[str]:
    return roots_before(store.execute("SELECT name, artifact_location FROM experiments"), root)


def _move(store: sqlite3.Connection, before: str, after: str) -> None:
    for table, column in _COLUMNS:
        if column in {row[1] for row in store.execute(f"PRAGMA table_info({table})")}:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (after, len(before) + 1, len(before) + 1, f"{before}/"),
            )

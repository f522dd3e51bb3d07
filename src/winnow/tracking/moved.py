"""Corrects where an SQLite store says that its files are, after the folder that holds both was moved or copied.

MLflow writes absolute locations into its database. winnow keeps artifacts beside that database, in `artifacts/STUDY`.
So a location that names another folder of that form, while the study's folder is here, is from before the move. Once it
is corrected, all readers find the files, MLflow's own pages included. Other locations are left alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

ARTIFACTS = "artifacts"
"""Folder of the artifacts, beside the database."""

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow 3 keeps locations."""


def correct_locations(database: Path) -> None:
    """Have the store name the files beside it. Costs one query where nothing was moved.

    A database that is busy, read-only or none of MLflow's stays as it is; who reads it next says what is wrong.
    """
    root = database.absolute().parent / ARTIFACTS
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=20, isolation_level=None)) as store:
            if not _roots_before(store, root):
                return
            store.execute("BEGIN IMMEDIATE")
            for before in _roots_before(store, root):  # another process may have been first
                _move(store, before, root.as_uri())
            store.execute("COMMIT")
    except sqlite3.DatabaseError:
        return


def roots_before(locations: Iterable[tuple[str, str]], root: Path) -> list[str]:
    """The roots, as URIs, below which artifacts lay before the store was moved.

    Args:
        locations: names of experiments with their artifact locations.
        root: where artifacts are now.
    """
    return sorted(set(_roots(locations, root)))


def _roots(locations: Iterable[tuple[str, str]], root: Path) -> Iterator[str]:
    for name, location in locations:
        parts = urlsplit(location)
        place = Path(unquote(parts.path))
        is_ours = parts.scheme == "file" and (place.parent.name, place.name) == (ARTIFACTS, name)
        if is_ours and (root / name).is_dir() and place.parent.resolve() != root.resolve():
            yield location.rstrip("/").rpartition("/")[0]


def _roots_before(store: sqlite3.Connection, root: Path) -> list[str]:
    return roots_before(store.execute("SELECT name, artifact_location FROM experiments"), root)


def _move(store: sqlite3.Connection, before: str, after: str) -> None:
    for table, column in _COLUMNS:
        if column in {row[1] for row in store.execute(f"PRAGMA table_info({table})")}:
            store.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (after, len(before) + 1, len(before) + 1, f"{before}/"),
            )

"""Keep winnow's files private to their user: folders get mode 0700, files 0600.

A command and its workers set a umask for new files, and a command tightens an existing home. What the user names (a
file or folder of `--output`, a project folder) gets its mode from the usual umask.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

OTHERS = 0o077
"""Permissions of the group and of all others."""

_OWN = (
    "airflow",
    "artifacts",
    "data",
    "deployments",
    "images-loaded.json",
    "models",
    "monitoring",
    "stack.json",
    "studies",
    "tools",
)
_DATABASES = ("mlflow.db", "studies.db")
"""Databases. SQLite's files next to them have names with the same prefix."""

_usual_umask: int | None = None


def restrict_umask() -> None:
    """Set the umask, so that only the user can read files of this process and its children."""
    global _usual_umask
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
    if _usual_umask is None:
        _usual_umask = before


def share(path: Path) -> None:
    """Give a file, or a folder and all that is in it, the mode that it would have without `restrict_umask`."""
    if _usual_umask is None:
        return
    for each in (path, *path.rglob("*")):
        each.chmod((0o777 if each.is_dir() else 0o666) & ~_usual_umask)


def make_home(home: Path) -> None:
    """Create a private home. `tighten` handles an existing one. Raises OSError."""
    home.parent.mkdir(parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)


def tighten(home: Path) -> None:
    """Make an existing home private; do nothing if there is none, or if it belongs to another user.

    A folder with other entries keeps its mode: only winnow's own entries in it become private.
    """
    try:
        entries = list(home.iterdir())
    except OSError:
        return
    own = [entry for entry in entries if entry.name in _OWN or entry.name.startswith(_DATABASES)]
    for entry in own:
        _close(entry)
    if own and len(own) == len(entries):
        _close(home)


def _close(path: Path) -> None:
    # Another process may have removed it, or another user may own it.
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if mode & OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)

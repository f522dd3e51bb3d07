"""Keep what winnow writes from other users of the machine: folders get mode 0700, files 0600.

The umask of a command and of its workers gives new files these modes. The home of an older version is tightened when a
command finds it. A file that a person names with `--output` is not winnow's own: it has the modes of the usual umask.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

OTHERS = 0o077
"""The permissions that a umask takes away from the group and from all others."""

_OWN = ("artifacts", "data", "deployments", "images-loaded.json", "models", "stack.json", "studies")
_DATABASES = ("mlflow.db", "studies.db")
"""Databases, and how the names of the files begin that SQLite keeps beside them."""

_usual_umask: int | None = None


def restrict_umask() -> None:
    """Set the umask, so that the files of this process and its children are readable by their user alone."""
    global _usual_umask
    before = os.umask(OTHERS)
    os.umask(before | OTHERS)
    if _usual_umask is None:
        _usual_umask = before


def share(path: Path) -> None:
    """Give a file the mode that it would have without `restrict_umask`."""
    if _usual_umask is not None:
        path.chmod(0o666 & ~_usual_umask)


def make_home(home: Path) -> None:
    """Make the home for its user alone. One that is there already is left to `tighten`. Raises OSError."""
    home.parent.mkdir(parents=True, exist_ok=True)
    home.mkdir(mode=0o700, exist_ok=True)


def tighten(home: Path) -> None:
    """Close an existing home to others; do nothing where there is none, or where it belongs to another user.

    A folder that holds other things as well stays as open as it is: only winnow's own entries in it are closed.
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
    # Another process may have removed it, and another user may own it.
    with contextlib.suppress(OSError):
        mode = path.lstat().st_mode
        if mode & OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)

"""Explain what a disk refuses by an error that names the path and the remedy."""

from __future__ import annotations

import errno
import getpass
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError

LONGEST_FILE_NAME = 255
"""Bytes of a file's name on the file systems of Linux and macOS."""

_FULL_BYTES = 2**20
"""A disk with less room counts as full: a write of some kilobytes may be refused before the last byte is taken."""

_REFUSALS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
    }
)


def home_of(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that WINNOW_HOME names, as an absolute path. It need not exist."""
    return Path(environment.get("WINNOW_HOME") or ".winnow").expanduser().absolute()


def disk_fault(error: OSError, home: Path, path: Path | None = None) -> InputError | None:
    """A refusal of the disk as an error for a person; None for any other error, and for one without a path.

    Args:
        home: winnow's own folder, which may be on another disk.
        path: what was to be written; by default what the error names. The error for a full disk names nothing: then it
            is the first place with a full disk that winnow writes to.
    """
    if path is None and error.filename is not None:
        path = Path(os.fsdecode(error.filename))
    elif path is None and error.errno == errno.ENOSPC:
        path = next((place for place in (home, Path.cwd(), Path(tempfile.gettempdir())) if _is_full(place)), None)
    if error.errno not in _REFUSALS or path is None:
        return None
    path = path.absolute()
    is_ours = path == home or home in path.parents
    found = f"'{error.strerror}'"
    if error.errno == errno.ENAMETOOLONG:
        longest = max(path.parts, key=lambda part: len(os.fsencode(part)))
        return InputError(
            f"{str(path)[:60]}…",
            expected=f"names of at most {LONGEST_FILE_NAME} bytes",
            found=f"one of {len(os.fsencode(longest))}, in a path of {len(str(path))} characters",
            remedy="Shorten the name.",
        )
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        file = next((place for place in (path, *path.parents) if place.is_file()), path)
        what = "a folder" if file.is_dir() else "a file"
        other = "set WINNOW_HOME to another folder" if is_ours else "name another path"
        return InputError(
            str(path),
            expected="a path where a file can be made",
            found=f"{what} at {file}",
            remedy=f"Move it away, or {other}.",
        )
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        place = _there(path)
        free = f", {shutil.disk_usage(place).free / 2**20:.1f} MiB free" if place is not None else ""
        limit = "on the disk" if error.errno != errno.EDQUOT else "within the quota of its user"
        other = "set WINNOW_HOME to a folder on another disk" if is_ours else "name a path on another one"
        return InputError(
            str(path), expected="room to write", found=found + free, remedy=f"Make room {limit}, or {other}."
        )
    if error.errno == errno.EROFS:
        other = f"set WINNOW_HOME to a copy of {home} on another one" if is_ours else "name a path on another one"
        return InputError(
            str(path),
            expected="a disk that can be written",
            found=found,
            remedy=f"Mount the disk for writing, or {other}.",
        )
    other = "set WINNOW_HOME to a folder of your own" if is_ours else "name another path"
    return InputError(
        str(path),
        expected=f"permission for user {_user()} to write",
        found=f"{found}{_owner(path)}",
        remedy=f"Give it, or {other}.",
    )


def probe(file: Path) -> OSError | None:
    """Why a database file, or one that SQLite makes beside it, cannot be written; None where it can.

    The file itself is not opened: closing it would drop the locks that SQLite holds on it for other connections of
    this process.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    try:
        with tempfile.TemporaryFile(dir=file.parent) as written:
            written.write(bytes(4096))
            written.flush()
    except OSError as error:
        return error
    if file.exists() and not os.access(file, os.W_OK):
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    return None


def _is_full(path: Path) -> bool:
    place = _there(path)
    return place is not None and shutil.disk_usage(place).free < _FULL_BYTES


def _there(path: Path) -> Path | None:
    """The nearest folder of a path that exists."""
    return next((place for place in (path, *path.parents) if place.is_dir()), None)


def _owner(path: Path) -> str:
    """The owner of the path or of its nearest folder, in words: " (/data belongs to root)"."""
    for place in (path, *path.parents):
        try:
            found = place.owner()
        except FileNotFoundError:
            continue
        except (OSError, KeyError):
            return ""
        return f" ({place} belongs to {found})"
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

"""Turn a disk's refusal to write into an error that names the path and the remedy."""

from __future__ import annotations

import errno
import getpass
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from winnow.config.errors import InputError

_FULL_BYTES = 2**20
"""A disk with less room counts as full: it may refuse a write of some kilobytes before the last byte is used."""


def home_of(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that WINNOW_HOME names, as an absolute path. It need not exist."""
    return Path(environment.get("WINNOW_HOME") or ".winnow").expanduser().absolute()


def disk_fault(error: OSError, home: Path, path: Path | None = None) -> InputError | None:
    """A disk's refusal as an error for the user; None for any other error, and for one without a path.

    Args:
        home: WINNOW_HOME, which may be on another disk.
        path: the path to be written; by default the error's. The error for a full disk has none: then it is the first
            folder on a full disk that winnow writes to.
    """
    if path is None and error.filename is not None:
        path = Path(os.fsdecode(error.filename))
    elif path is None and error.errno == errno.ENOSPC:
        places = ((each, _nearest_folder(each)) for each in (home, Path.cwd(), Path(tempfile.gettempdir())))
        path = next((each for each, at in places if at and shutil.disk_usage(at).free < _FULL_BYTES), None)
    if path is None:
        return None
    path, found = path.absolute(), f"'{error.strerror}'"
    is_in_home = path == home or home in path.parents
    match error.errno:
        case errno.ENOENT if is_in_home and not home.exists():  # such as below /proc
            expected, remedy = "a folder that can be made", "Set WINNOW_HOME to a folder on a disk."
            return InputError(str(home), expected=expected, found=found, remedy=remedy)
        case errno.ENAMETOOLONG:  # 255 bytes is the limit of the file systems of Linux and macOS
            longest = max(len(os.fsencode(part)) for part in path.parts)
            return InputError(
                f"{str(path)[:60]}…",
                expected="names of at most 255 bytes",
                found=f"one of {longest}, in a path of {len(str(path))} characters",
                remedy="Shorten the name.",
            )
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST:
            file = next((place for place in (path, *path.parents) if place.is_file()), path)
            expected = "a path where a file can be made"
            found = f"{'a folder' if file.is_dir() else 'a file'} at {file}"
            remedy, other_home, other_path = "Move it away", "another folder", "another path"
        case errno.ENOSPC | errno.EFBIG | errno.EDQUOT:
            place = _nearest_folder(path)
            free = f", {shutil.disk_usage(place).free / 2**20:.1f} MiB free" if place is not None else ""
            limit = "within the quota of its user" if error.errno == errno.EDQUOT else "on the disk"
            expected, found = "room to write", found + free
            remedy, other_home, other_path = f"Make room {limit}", "a folder on another disk", "a path on another one"
        case errno.EROFS:
            expected, remedy = "a disk that can be written", "Mount the disk for writing"
            other_home, other_path = f"a copy of {home} on another one", "a path on another one"
        case errno.EACCES | errno.EPERM:
            expected, found = f"permission for user {_user()} to write", f"{found}{_owner(path)}"
            remedy, other_home, other_path = "Give it", "a folder of your own", "another path"
        case _:
            return None
    other = f"set WINNOW_HOME to {other_home}" if is_in_home else f"name {other_path}"
    return InputError(str(path), expected=expected, found=found, remedy=f"{remedy}, or {other}.")


def probe(file: Path) -> OSError | None:
    """Why a database file, or the files that SQLite creates next to it, cannot be written; None if they can.

    This does not open the file itself: closing it would drop SQLite's locks for other connections of this process.
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


def _nearest_folder(path: Path) -> Path | None:
    return next((place for place in (path, *path.parents) if place.is_dir()), None)


def _owner(path: Path) -> str:
    """The owner of the path or of its nearest folder: " (/data belongs to root)"."""
    for place in (path, *path.parents):
        try:
            return f" ({place} belongs to {place.owner()})"
        except FileNotFoundError:
            continue
        except (OSError, KeyError):
            break
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())

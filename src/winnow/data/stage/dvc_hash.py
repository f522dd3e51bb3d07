"""The hashes that DVC names files and folders by."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

FOLDER = ".dir"
"""What the hash of a folder ends in."""


def dvc_hash(path: Path) -> str:
    """The md5 of a file; of a folder that of the list of its files with their hashes, and `.dir`.

    The list is JSON in the form of dvc-data's `Tree`, in the order of the paths.
    """
    if not path.is_dir():
        return _md5(path)
    files = sorted((file.relative_to(path) for file in path.rglob("*") if file.is_file()), key=Path.as_posix)
    listed = [{"md5": _md5(path / file), "relpath": file.as_posix()} for file in files]
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + FOLDER


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

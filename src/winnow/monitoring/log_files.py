"""The files of a prediction log, wherever collectors have put them, as files of this machine."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from winnow.config.errors import InputError
from winnow.data.urls import download, list_urls


@contextmanager
def local_files(paths: Sequence[str], place: str) -> Iterator[list[str]]:
    """The files that paths name, while the context is open.

    Args:
        paths: files, folders (every file in them, not in folders below), patterns (`logs/*.jsonl`), or URLs
            (`s3://bucket/cells/`), which are copied to this machine one after the other.
        place: what an error names.

    Raises:
        InputError: a path names no file, or a URL cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-outcomes-") as folder:
        found: list[str] = []
        for path in paths:
            try:
                mine = _fetched(path, Path(folder), len(found)) if "://" in path else _matching(path)
            except InputError as error:
                error.move_to(place)
                raise
            if not mine:
                remedy = "Correct the path, or wait until the collector has written the first lines."
                raise InputError(place, expected="files of the prediction log", found=f"none at {path}", remedy=remedy)
            found += mine
        yield found


def _matching(path: str) -> list[str]:
    if Path(path).is_dir():
        return sorted(str(each) for each in Path(path).iterdir() if each.is_file())
    return [path] if Path(path).is_file() else sorted(glob.glob(path, recursive=True))  # noqa: PTH207  # absolute patterns, too


def _fetched(url: str, folder: Path, start: int) -> list[str]:
    urls = list_urls(url)
    made = []
    for number, each in enumerate([url] if urls is None else urls, start):
        # The end of the name says how it is compressed.
        target = folder / f"{number}-{each.rpartition('/')[2][-60:].replace('*', '_').replace('?', '_')}"
        download(each, target)
        made.append(str(target))
    return made

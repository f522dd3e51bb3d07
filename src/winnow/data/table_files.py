"""The files of a table: one, or all that a list, a pattern or a folder names, in a fixed order."""

from __future__ import annotations

import glob
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote, urlsplit

from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_command
from winnow.data.urls import fetch, first_line, list_urls

PLACE = "data.source"
FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".tab": "csv", ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow",
    ".arrows": "arrow", ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
COMPRESSIONS = frozenset({".gz", ".bz2", ".xz", ".zip", ".zst"})
HIDDEN = (".", "_")
"""How the names of files begin that a folder of parts holds beside them, such as `_SUCCESS`."""


@dataclass(frozen=True)
class TableFile:
    """One file of a table.

    Attributes:
        path: a path or URL.
        partition: columns that folders on the way to it name as `column=value`.
    """

    path: str
    partition: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Its name without folders."""
        return _name_of(self.path).name

    @property
    def compression(self) -> str:
        """The ending that says how it is compressed; "" without one."""
        suffix = _name_of(self.path).suffix.lower()
        return suffix if suffix in COMPRESSIONS else ""

    @property
    def format(self) -> str | None:
        """csv, parquet or arrow, as its name ends; None for other endings."""
        name = _name_of(self.path)
        return FORMATS.get((name.with_suffix("") if self.compression else name).suffix.lower())


def list_files(sources: Sequence[str], format_given: str = "auto") -> list[TableFile]:
    """The files that sources name: in the given order, those of one pattern or folder by name.

    Raises:
        InputError: a pattern or folder without files, or files of different formats or an unknown one.
    """
    files = [file for source in sources for file in _files_of(source, is_known_only=format_given == "auto")]
    if format_given != "auto":
        return files
    unknown = next((file for file in files if file.format is None), None)
    if unknown is not None:
        raise InputError(
            PLACE,
            expected="`sklearn:NAME`, a .csv, .parquet or .arrow file, a folder, list or URL of such files, a "
            "database, or a data function `package.module:function`",
            found=f"'{unknown.path}'",
            remedy="Say what is in it with `data.read: {format: csv}`, convert it, or read it in a data function.",
        )
    other = next((file for file in files if file.format != files[0].format), None)
    if other is not None:
        raise InputError(
            PLACE,
            expected="files of one format",
            found=f"{files[0].name} and {other.name}",
            remedy="Name those to read, with a pattern such as `rows/*.csv`.",
        )
    return files


def local_files(sources: Iterable[str]) -> list[Path]:
    """The files of this machine among those that sources name.

    Raises:
        InputError: there is no such file, or a pattern or folder without files.
    """
    named = [file.path for source in sources if "://" not in source for file in _files_of(source, is_known_only=False)]
    files = [Path(path).expanduser() for path in named]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise no_such_file(missing, "no such file")
    return files


def _files_of(source: str, *, is_known_only: bool) -> list[TableFile]:
    if "://" in source:
        urls = list_urls(source)
        return _parts(urls, source.rstrip("/"), source, is_known_only) if urls is not None else [TableFile(source)]
    path = Path(source).expanduser()
    if path.is_dir():
        found = sorted(file.as_posix() for file in path.rglob("*") if _is_file(file))
        return _parts(found, path.as_posix(), source, is_known_only)
    if glob.has_magic(source) and not path.exists():
        found = sorted(file for file in glob.glob(str(path), recursive=True) if _is_file(Path(file)))  # noqa: PTH207 - an absolute pattern, too
        if not found:
            raise InputError(
                PLACE,
                expected=f"files that match {path.absolute()}",
                found="none",
                remedy="Correct the pattern, which starts at the working directory.",
            )
        return [TableFile(file, _partition(PurePosixPath(file).parts)) for file in found]
    return [TableFile(source)]


def _is_file(path: Path) -> bool:
    """Whether it is a file, or a link to one that is gone, whose rows must not be missed in silence."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _parts(found: Sequence[str], folder: str, source: str, is_known_only: bool) -> list[TableFile]:
    """The files of a folder that are parts of its table."""
    files = []
    for path in found:
        inner = PurePosixPath(path.removeprefix(folder).lstrip("/"))
        file = TableFile(path, _partition(inner.parts))
        is_hidden = any(part.startswith(HIDDEN) for part in inner.parts)
        if not is_hidden and (file.format is not None or not is_known_only):
            files.append(file)
    if not files:
        others = f"{len(found)} files, of which none is one" if found else "an empty folder"
        raise InputError(
            PLACE,
            expected=f"a folder with .csv, .parquet or .arrow files at {source}",
            found=others,
            remedy="Correct the path, or say what is in the files with `data.read: {format: csv}`.",
        )
    return files


def _partition(parts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in list(parts)[:-1])
    return tuple((name, unquote(value)) for name, equals, value in pairs if equals and name)


@contextmanager
def opened(file: TableFile) -> Iterator[IO[bytes]]:
    """The bytes of a file or URL, while they are read as a table.

    Raises:
        InputError: there is no such file, or what is read is no table.
    """
    import pyarrow as pa

    stream: IO[bytes] = fetch(file.path) if "://" in file.path else _open(file.path)
    try:
        with stream:
            yield stream
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise InputError(
            PLACE,
            expected=f"a table with one row of names and one row for each example in {file.path}",
            found=f"'{first_line(error)}'",
            remedy="Write the file again, or read it in a data function.",
        ) from error


@contextmanager
def named_by(place: str) -> Iterator[None]:
    """Blame what named the files, such as a flag, instead of `data.source`, for errors while the context is open."""
    try:
        yield
    except InputError as error:
        if error.place == PLACE:
            error.move_to(place)
        raise


def _open(path: str) -> IO[bytes]:
    file = Path(path).expanduser()
    try:
        return file.open("rb")
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"'{error.strerror}'"
        raise no_such_file(file, found) from error


def no_such_file(path: Path, found: str) -> InputError:
    """The error about a file that cannot be opened; it suggests the nearest name."""
    files = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    suggestion = did_you_mean(path.name, set(files) - {path.name}, cutoff=0.8)
    example = f"Paths start at the working directory; `{next_command('generate-data')}` writes a file to try."
    expected = f"a file that can be read at {path.absolute()}"
    return InputError(PLACE, expected=expected, found=found, remedy=suggestion or example)


def _name_of(path: str) -> PurePosixPath:
    return PurePosixPath(urlsplit(path).path if "://" in path else path)

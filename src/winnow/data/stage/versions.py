"""Folders of versions: one for each version, and the file `current` that names the one in use.

A version is written beside the others as a draft and becomes current in one step, so that a call that fails or is
killed changes nothing. Only one call writes at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, TypeVar

import msgspec

from winnow.config.atomic_write import replace_bytes, replace_text
from winnow.config.file_lock import locked

POINTER, DRAFT = "current", ".draft"
KEPT = 3
"""How many versions stay in any case, the current one included."""


class Version(Protocol):
    """What describes a version.

    Attributes:
        DESCRIPTION: the name of the file with the description.
        digest: sha256 of the rows. The folder is named by its first digits.
        files: the files of the version, as paths in its folder.
    """

    DESCRIPTION: ClassVar[str]

    @property
    def digest(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]: ...


V = TypeVar("V", bound=Version)


def current_version(folder: Path, kind: type[V]) -> tuple[Path, V] | None:
    """Folder and description of the version in use; None before the first one, and where a file is lost or damaged."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    version = folder / pointer.read_text(encoding="utf-8").strip()
    found = described(version, kind)
    return (version, found) if found is not None and all((version / file).is_file() for file in found.files) else None


def described(version: Path, kind: type[V]) -> V | None:
    """The description of a version; None where it is lost or damaged."""
    try:
        return msgspec.json.decode((version / kind.DESCRIPTION).read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):  # the latter also of another version of winnow
        return None


@contextmanager
def drafting(folder: Path) -> Iterator[Path]:
    """An empty folder for a version, in the folder of versions, which is locked and created if it is missing.

    The draft is removed at the end unless `publish` has made it a version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        draft = folder / DRAFT
        if draft.exists():  # of a process that was killed
            shutil.rmtree(draft)
        draft.mkdir()
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class Published(NamedTuple):
    """A version that became the current one.

    Attributes:
        path: its folder.
        notes: which older versions were not removed, since something uses them.
    """

    path: Path
    notes: tuple[str, ...]


Users = Callable[[Sequence[Path]], Mapping[str, str]]
"""What uses which of the given folders or files of versions, by their names."""


def no_users(_: Sequence[Path]) -> Mapping[str, str]:
    """For versions that nothing uses."""
    return {}


def publish(draft: Path, found: Version, users: Users = no_users) -> Published:
    """Make a draft the current version, and remove all but the newest ones and those that are used."""
    describe(draft, found)
    version = draft.parent / version_name(found)
    if version.exists():  # of rows that came back
        shutil.rmtree(version)
    draft.rename(version)
    replace_text(version.parent / POINTER, f"{version.name}\n")
    descriptions = version.parent.glob(f"*/{found.DESCRIPTION}")
    newest_last = sorted(descriptions, key=lambda file: file.stat().st_mtime_ns)
    return Published(
        version, remove_unused([each.parent for each in newest_last[:-KEPT] if each.parent != version], users)
    )


def remove_unused(old: Sequence[Path], users: Users) -> tuple[str, ...]:
    """Remove folders or files of old versions that nothing uses; say which ones stay, and why."""
    in_use = users(old) if old else {}
    for each in old:
        if each.stem in in_use:
            continue
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
    return tuple(f"older version {name} stays: {in_use[name]}" for name in sorted(in_use))


def describe(version: Path, found: Version) -> None:
    """Write or replace the description of a version."""
    replace_bytes(version / found.DESCRIPTION, msgspec.json.format(msgspec.json.encode(found)))


def version_name(found: Version) -> str:
    """The name of a version's folder."""
    return found.digest[:12]

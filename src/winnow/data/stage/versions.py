"""Folders of versions: one for each version of an experiment's rows, and the file `current` that names the one in use.

`HOME/data/NAME/raw/VERSION/` holds what `winnow ingest` has made of raw data, and `…/prepared/VERSION/` what
`winnow prepare` has made of those. A version is written beside the others as a draft and becomes current in one step,
so that a call that fails or is killed changes nothing. Only one call writes at a time.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

from winnow.config.atomic_write import replace_bytes, replace_text
from winnow.config.file_lock import locked

POINTER, DRAFT = "current", ".draft"
KEPT = 3
"""How many versions stay in any case, the current one included."""
_VALID = "valid"
"""The file with the digest of the schema that the rows of a version were last found to fit."""


@dataclass(frozen=True)
class RawColumn:
    """A column.

    Attributes:
        type: its type in Arrow's words: `string`, `int64`, `timestamp[us]`, …
    """

    name: str
    type: str


@dataclass(frozen=True)
class RawPart:
    """A Parquet file of a version, and where its rows come from.

    Attributes:
        source: the file, URL or database.
        mark: changes when the source does; None where the source has no such thing.
        file: the part's name in the folder of the version.
        rows: how many rows it holds.
    """

    source: str
    mark: str | None
    file: str
    rows: int


@dataclass(frozen=True)
class Rows:
    """What identifies rows. `digest` is the sha256 of names, types and rows in their order."""

    digest: str
    rows: int
    columns: tuple[RawColumn, ...]


@dataclass(frozen=True)
class Ingested(Rows):
    """A version of the raw data.

    Attributes:
        digest: sha256 of names, types and rows in their order; how the rows are split into parts does not matter.
        rows: how many rows all parts hold.
        columns: in the order of every part.
        parts: in the order of the rows.
        raw: the section `data.raw` that it was read by.
        watermark: of a database that is read by a column, the last row's value as text.
        dtypes: what the schema file, if there is one, says that the values of columns are, by name.
        lineage: tags that say which versions of DVC the sources are.
        made_by: the tags of MLFLOW_RUN_CONTEXT as a clause, such as a DAG run's name; empty where there were none.
    """

    DESCRIPTION: ClassVar[str] = "ingested.json"

    parts: tuple[RawPart, ...]
    raw: dict[str, Any]
    watermark: str | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""

    @property
    def version(self) -> str:
        """The name of its folder."""
        return self.digest[:12]

    @property
    def files(self) -> tuple[str, ...]:
        """Its Parquet files, as paths in its folder, in the order of the rows."""
        return tuple(part.file for part in self.parts)


@dataclass(frozen=True)
class Inputs:
    """What the rows of a version are made from: the same inputs make the same rows.

    Attributes:
        raw: the version of the raw data.
        schema: sha256 of the schema that gave the raw columns their types, and of the texts that are missing values.
        recipe: sha256 of the query or the function's files, of the order, the partitions and `prepare.schema`.
        engine: its name and version, such as `duckdb 2.0.1`.
    """

    raw: str
    schema: str
    recipe: str
    engine: str


@dataclass(frozen=True)
class Prepared(Rows):
    """A version of the prepared rows.

    Attributes:
        digest: sha256 of names, types and rows in their order.
        rows: how many.
        columns: in their order; those that split the rows are the folders' names in the files.
        files: as paths in the folder of the version, in the order of the rows.
        inputs: what they are made from.
        made_by: as of `Ingested`.
    """

    DESCRIPTION: ClassVar[str] = "prepared.json"

    files: tuple[str, ...]
    inputs: Inputs
    made_by: str = ""

    @property
    def version(self) -> str:
        """The name of its folder."""
        return self.digest[:12]


V = TypeVar("V", Ingested, Prepared)


def raw_folder(home: Path, name: str) -> Path:
    """The folder with the versions of an experiment's raw data."""
    return home / "data" / name / "raw"


def prepared_folder(home: Path, name: str) -> Path:
    """The folder with the versions of an experiment's prepared rows."""
    return home / "data" / name / "prepared"


def is_known_valid(version: Path, schema: str) -> bool:
    """Whether the rows of a version were found to fit the schema with this digest."""
    file = version / _VALID
    return file.is_file() and file.read_text(encoding="utf-8").strip() == schema


def keep_valid(version: Path, schema: str) -> None:
    """Keep that the rows of a version fit the schema with this digest."""
    replace_text(version / _VALID, f"{schema}\n")


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


def publish(draft: Path, found: Ingested | Prepared, users: Users = no_users) -> Published:
    """Make a draft the current version, and remove all but the newest ones and those that are used."""
    describe(draft, found)
    version = draft.parent / found.version
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


def describe(version: Path, found: Ingested | Prepared) -> None:
    """Write or replace the description of a version."""
    replace_bytes(version / found.DESCRIPTION, msgspec.json.format(msgspec.json.encode(found)))

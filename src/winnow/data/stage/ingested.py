"""What `winnow ingest` has made of raw data: a folder of Parquet parts, and the file that describes them.

`HOME/data/NAME/raw/VERSION/` holds one version; its name is the first digits of the digest of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from winnow.config.atomic_write import replace_text
from winnow.data.stage.versions import version_name

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
class Ingested:
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

    digest: str
    rows: int
    columns: tuple[RawColumn, ...]
    parts: tuple[RawPart, ...]
    raw: dict[str, Any]
    watermark: str | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    made_by: str = ""

    @property
    def version(self) -> str:
        """The name of its folder."""
        return version_name(self)

    @property
    def files(self) -> tuple[str, ...]:
        """Its Parquet files, as paths in its folder, in the order of the rows."""
        return tuple(part.file for part in self.parts)


def is_known_valid(version: Path, schema: str) -> bool:
    """Whether the rows of a version were found to fit the schema with this digest."""
    file = version / _VALID
    return file.is_file() and file.read_text(encoding="utf-8").strip() == schema


def keep_valid(version: Path, schema: str) -> None:
    """Keep that the rows of a version fit the schema with this digest."""
    replace_text(version / _VALID, f"{schema}\n")


def raw_folder(home: Path, name: str) -> Path:
    """The folder with the versions of an experiment's raw data."""
    return home / "data" / name / "raw"

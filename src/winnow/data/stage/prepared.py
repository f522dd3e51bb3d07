"""What `winnow prepare` has made of raw data: a folder of Parquet files, and the file that describes them.

`HOME/data/NAME/prepared/VERSION/` holds one version; its name is the first digits of the digest of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from winnow.data.stage.ingested import RawColumn
from winnow.data.stage.versions import version_name


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
class Prepared:
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

    digest: str
    rows: int
    columns: tuple[RawColumn, ...]
    files: tuple[str, ...]
    inputs: Inputs
    made_by: str = ""

    @property
    def version(self) -> str:
        """The name of its folder."""
        return version_name(self)


def prepared_folder(home: Path, name: str) -> Path:
    """The folder with the versions of an experiment's prepared rows."""
    return home / "data" / name / "prepared"

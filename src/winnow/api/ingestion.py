"""Copy raw data to the home."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.orchestrators.ingest import Ingestion


def ingest(config: Path | str, *, dry_run: bool = False) -> Ingestion:
    """Copy the raw data that `data.raw` names to `HOME/data/NAME/raw/VERSION`: Parquet parts and `ingested.json`.

    Files that are new or have changed are read, or a database's rows above the last value of `data.raw.by`. Rows that
    are those of the current version change nothing. A call that fails leaves the current version as it was.

    Args:
        dry_run: only say what would be read.

    Raises:
        InputError: the file has no section `data.raw`; the schema file is wrong; or sources are missing,
            unreachable or unreadable, have no rows, or differ in their columns.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(Path(config))
    from winnow.config.loader import located
    from winnow.config.settings import home_folder
    from winnow.orchestrators import ingest as orchestrator

    home = home_folder(os.environ)

    def users(versions: Sequence[Path]) -> Mapping[str, str]:
        # It imports MLflow, and is called where old versions would be removed.
        from winnow.orchestrators.data_users import users_of

        return users_of(versions, experiment.name, home)

    with located(Path(config)):
        return orchestrator.ingest(experiment, home, dry_run=dry_run, users=users)

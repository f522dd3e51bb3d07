"""Make the rows that are trained on from raw data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.config.experiment import Engine
    from winnow.orchestrators.prepare import Preparation


def prepare(
    config: Path | str, *, engine: Engine | None = None, spark_master: str | None = None, dry_run: bool = False
) -> Preparation:
    """Compute the rows of `source: prepared` as `data.prepare` says: `HOME/data/NAME/prepared/VERSION`.

    The raw rows that were ingested have the types of `data.schema`, and are checked against it. The result is sorted
    and written as Parquet with `prepared.json`. The same inputs compute nothing, and the same rows are one version.
    A call that fails leaves the current version as it was.

    Args:
        engine: duckdb, polars or spark; by default that of the file.
        spark_master: where Spark computes: local[*], spark://HOST:PORT or k8s://https://HOST:PORT; by default what
            SPARK_MASTER names, else this machine.
        dry_run: only say what would be done.

    Raises:
        InputError: the file has no section `data.prepare` or `data.raw`, nothing was ingested, rows violate a schema,
            the engine is not installed, the query or function is wrong, or its result has no rows, keys that repeat, or
            columns that no training table has.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(Path(config))
    from winnow.config.loader import located
    from winnow.config.settings import home_folder
    from winnow.orchestrators import prepare as orchestrator

    home = home_folder(os.environ)

    def users(versions: Sequence[Path]) -> Mapping[str, str]:
        # It imports MLflow, and is called where old versions would be removed.
        from winnow.orchestrators.data_users import users_of

        return users_of(versions, experiment.name, home)

    with located(Path(config)):
        environment = os.environ if spark_master is None else {**os.environ, "SPARK_MASTER": spark_master}
        return orchestrator.prepare(experiment, home, engine, environment, dry_run=dry_run, users=users)

"""Raw data: versions by DVC, copies in the home, checks, and the rows that are trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.config.experiment import Engine
    from winnow.orchestrators.dvc import DataVersion
    from winnow.orchestrators.ingest import Ingestion
    from winnow.orchestrators.prepare import Preparation
    from winnow.orchestrators.validate import Validation


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

    with located(Path(config)):
        home = home_folder(os.environ)
        return orchestrator.ingest(experiment, home, dry_run=dry_run, users=_users(experiment.name, home))


def data_version(input: Path | str, *, commit: bool = False, say: Callable[[str], None] = silent) -> DataVersion:
    """Make a version of a file or folder: DVC tracks it as it is, and copies it to its default remote.

    Experiments name it by `data: {source: "dvc:PATH"}`. The file `PATH.dvc`, which says which content it is, belongs in
    Git. Content that has not changed makes no new version.

    Args:
        input: the file or folder, in a DVC project in a Git repository.
        commit: also commit `PATH.dvc`, `.gitignore` beside it and the files of the DVC project itself; nothing else.

    Raises:
        InputError: DVC is not installed (`install_tool`), there is no such path, DVC project, Git repository or remote;
            the remote does not answer or lets this user not in; or DVC refuses the path.
        WinnowError: Git refuses the commit.
    """
    from winnow.config.settings import home_folder
    from winnow.orchestrators.dvc import make_data_version

    return make_data_version(Path(input), home_folder(os.environ), commit=commit, say=say)


def validate(config: Path | str, *, schema: Path | str | None = None, html: Path | str | None = None) -> Validation:
    """Check the rows of an experiment against a schema: those that were ingested, else those of `data.source`.

    Nothing is changed, and rows that violate the schema are no error: `violations` of the result has them.

    Args:
        schema: the schema file, in the form of pandera's YAML files; by default `data.schema`.
        html: a page to write about the rows: types, missing values, distributions, correlations and columns that may
            know the target beforehand. With it, a schema is not needed.

    Raises:
        InputError: there is no schema, it or the rows cannot be read, or the page cannot be written.
    """
    from winnow.config.loader import load_experiment
    from winnow.config.settings import Settings

    experiment = load_experiment(config)
    from winnow.orchestrators import validate as orchestrator

    page, file = None if html is None else Path(html), None if schema is None else Path(schema)
    return orchestrator.validate(experiment, Settings.from_environment().home, file, page)


def infer_schema(config: Path | str, *, schema: Path | str | None = None, force: bool = False) -> Path:
    """Write a first schema from the rows of an experiment, to correct by hand.

    Types, missing values, ranges, categories of at most 20 texts, and uniqueness are those of the rows.

    Args:
        schema: the file to write; by default `data.schema`, else schemas/NAME.yaml.
        force: overwrite an existing file.

    Raises:
        InputError: the file exists or cannot be written, or the rows cannot be read.
    """
    from winnow.config.loader import load_experiment
    from winnow.config.settings import Settings

    experiment = load_experiment(config)
    from winnow.orchestrators import validate as orchestrator

    file, home = None if schema is None else Path(schema), Settings.from_environment().home
    return orchestrator.infer(experiment, home, file, is_forced=force)


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

    with located(Path(config)):
        environment = os.environ if spark_master is None else {**os.environ, "SPARK_MASTER": spark_master}
        home = home_folder(os.environ)
        users = _users(experiment.name, home)
        return orchestrator.prepare(experiment, home, engine, environment, dry_run=dry_run, users=users)


def _users(name: str, home: Path) -> Callable[[Sequence[Path]], Mapping[str, str]]:
    """What names the users of data versions, where old ones would be removed."""

    def users(versions: Sequence[Path]) -> Mapping[str, str]:
        from winnow.orchestrators.data_users import users_of  # it imports MLflow

        return users_of(versions, name, home)

    return users

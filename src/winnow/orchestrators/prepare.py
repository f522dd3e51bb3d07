"""Make the rows that are trained on from the raw ones, by an engine: a new version where anything has changed.

The schema gives raw columns their types, an engine computes the result, and DuckDB checks and sorts it. A version is
written beside the current one and becomes current in one step, so that a query that fails changes nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from winnow.config.errors import InputError
from winnow.config.experiment import Engine as EngineName
from winnow.config.experiment import Experiment, PrepareConfig
from winnow.config.next_command import next_command
from winnow.data.stage.engines import Engine, Recipe, duckdb_engine, polars_engine, spark_engine
from winnow.data.stage.finish import FILE, split_rows, write_sorted
from winnow.data.stage.instructions import Instructions, read_instructions
from winnow.data.stage.rows import MEMORY_MIB, RAW_PLACE, open_raw, open_rows, refuse_names_of_another_case
from winnow.data.stage.schema import TableSchema, digest_of_schema, read_schema
from winnow.data.stage.versions import (
    Inputs,
    Prepared,
    Users,
    current_version,
    describe,
    drafting,
    is_known_valid,
    keep_valid,
    no_users,
    prepared_folder,
    publish,
)
from winnow.data.stage.violations import find_violations, literal, refuse_violations
from winnow.orchestrators.ingest import ingested_version
from winnow.tracking.run_context import run_context, shown_context

LARGE_BYTES = 128 * 2**20
"""Of raw rows as Parquet, a quarter of DuckDB's memory limit: about 1.3 GB of CSV."""
_READ_FILES: Mapping[EngineName, Engine] = {"polars": polars_engine, "spark": spark_engine}


@dataclass(frozen=True)
class Preparation:
    """What `prepare` has done, or would do.

    Attributes:
        state: "new": there is a new version; "unchanged": the rows are those of the current one; "planned": a dry run,
            and the next call would compute rows.
        inputs: what the rows are, or would be, made from.
        path: the folder of the current version; None before the first one.
        prepared: that version; None before the first one.
        notes: which versions are not removed for newer ones, since something uses them.
    """

    state: Literal["new", "unchanged", "planned"]
    inputs: Inputs
    path: Path | None
    prepared: Prepared | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Rows to compute.

    Attributes:
        engine: what computes them.
        given: the section `data.prepare`.
        instructions: its query or function for the engine.
        schema: what raw rows have to fit, and what gives their columns types.
        wanted: what prepared rows have to fit.
        missing: texts that stand for missing values besides the usual ones.
        raw: the Parquet files of the raw version.
        inputs: what identifies all this.
    """

    engine: EngineName
    given: PrepareConfig
    instructions: Instructions
    schema: TableSchema
    wanted: TableSchema | None
    missing: tuple[str, ...]
    raw: tuple[Path, ...]
    inputs: Inputs


def prepare(
    experiment: Experiment,
    home: Path,
    engine: EngineName | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    dry_run: bool = False,
    users: Users = no_users,
) -> Preparation:
    """Prepare the rows of an experiment. See `winnow.api.prepare`."""
    task = plan(experiment, home, engine, environment)
    folder = prepared_folder(home, experiment.name)
    current = current_version(folder, Prepared)
    if current is not None and current[1].inputs == task.inputs:
        return Preparation("unchanged", task.inputs, *current)
    if dry_run:
        return Preparation("planned", task.inputs, *(current or (None, None)))
    _check_raw(experiment, task)
    with drafting(folder) as draft:
        found = _write(experiment, task, draft, home, environment)
        if current is not None and (current[1].digest, current[1].files) == (found.digest, found.files):
            describe(current[0], found)  # other inputs, the same rows
            return Preparation("unchanged", task.inputs, current[0], found)
        path, notes = publish(draft, found, users)
        return Preparation("new", task.inputs, path, found, notes)


def plan(experiment: Experiment, home: Path, engine: EngineName | None, environment: Mapping[str, str]) -> Task:
    """What to compute for an experiment, by which engine.

    Raises InputError if a section, the raw data, a file or the engine is missing, or a schema is wrong.
    """
    given, raw = experiment.data.prepare, experiment.data.raw
    if given is None:
        remedy = "Say how rows are made: `data: {prepare: {sql: prepare.sql}}`."
        raise InputError("data.prepare", expected="a section `prepare`", found="none", remedy=remedy)
    if raw is None:
        remedy = "Say where the raw data are: `data: {raw: {source: PATH}}`."
        raise InputError("data.raw", expected="a section `raw`", found="none", remedy=remedy)
    name = engine or given.engine
    instructions = read_instructions(given, name, Path.cwd())
    schema = TableSchema(()) if experiment.data.schema_file is None else _schema(experiment.data.schema_file)
    used = duckdb_engine.VERSION if name == "duckdb" else _READ_FILES[name].version(home, environment)
    folder, ingested = ingested_version(experiment, home)
    wanted = None if given.schema_file is None else _schema(given.schema_file)
    return Task(
        name,
        given,
        instructions,
        schema,
        wanted,
        raw.read.missing,
        tuple(folder / file for file in ingested.files),
        Inputs(ingested.version, digest_of_schema(schema, raw.read.missing), instructions.digest, f"{name} {used}"),
    )


def _schema(file: str) -> TableSchema:
    return read_schema(Path(file).expanduser())


def _check_raw(experiment: Experiment, task: Task) -> None:
    """Refuse raw rows whose names SQL takes for one, or that violate their schema; valid ones are not checked again."""
    version = task.raw[0].parent
    refuse_names_of_another_case(task.raw[0], RAW_PLACE)
    if task.schema.columns and not is_known_valid(version, task.inputs.schema):
        with open_rows(experiment.data, task.raw) as connection:
            found = find_violations(connection, task.schema, task.missing)
        remedy = f"Correct the source or the schema; `{next_command('validate')}` lists all."
        refuse_violations(found, task.schema, "raw rows", remedy)
        keep_valid(version, task.inputs.schema)


def _write(experiment: Experiment, task: Task, draft: Path, home: Path, environment: Mapping[str, str]) -> Prepared:
    """Compute the rows and write them to the draft."""
    given, place = task.given, task.instructions.place
    with tempfile.TemporaryDirectory(prefix=".", dir=draft) as temporary:
        folder = Path(temporary)
        with open_raw(task.raw, task.schema, task.missing, draft, folder) as connection:
            _compute(task, connection, folder, home, environment)
            is_large = task.engine == "duckdb" and sum(each.stat().st_size for each in task.raw) > LARGE_BYTES
            unsorted = folder / "unsorted.parquet" if is_large else None
            rows = write_sorted(connection, draft / FILE, given.sort, given.partition_by, place, unsorted=unsorted)
    if task.wanted is not None:
        with open_rows(experiment.data, [draft / FILE]) as connection:
            violations = find_violations(connection, task.wanted)
        remedy = "Correct the query or the schema; the version before is unchanged."
        refuse_violations(violations, task.wanted, "prepared rows", remedy)
    files = split_rows(draft / FILE, given.partition_by) if given.partition_by else (FILE,)
    return Prepared(rows.digest, rows.rows, rows.columns, files, task.inputs, shown_context(run_context(environment)))


def _compute(
    task: Task, connection: duckdb.DuckDBPyConnection, folder: Path, home: Path, environment: Mapping[str, str]
) -> None:
    """Make the view `result` of the view `raw`."""
    raw, output = folder / "raw.parquet", folder / "result"
    output.mkdir()
    said = task.instructions
    recipe = Recipe(said.sql, said.function, said.place, (raw,), output, folder, MEMORY_MIB, home, environment)
    if task.engine == "duckdb":
        duckdb_engine.create_result(connection, recipe)
        return
    connection.execute(f"COPY raw TO {literal(str(raw))} (FORMAT parquet)")
    _READ_FILES[task.engine].run(recipe)
    files = sorted(output.glob("*.parquet"))
    refuse_names_of_another_case(files[0], said.place)
    listed = ", ".join(literal(str(file)) for file in files)
    try:
        connection.execute(f"CREATE TEMP VIEW result AS SELECT * FROM read_parquet([{listed}])")
    except duckdb.Error as error:  # files without columns
        raise duckdb_engine.wrong_query(error, said.place) from error

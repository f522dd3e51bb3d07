"""Checks raw rows against their schema, and writes a first schema and a page from them. Rows stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, Experiment
from winnow.config.functions import DVC
from winnow.config.next_command import next_command, next_flag
from winnow.data.stage.infer import infer_schema
from winnow.data.stage.rows import open_rows
from winnow.data.stage.schema import ColumnSchema, TableSchema, digest_of_schema, read_schema, schema_text
from winnow.data.stage.summary import Summary, summarize
from winnow.data.stage.versions import Ingested, current_version, is_known_valid, keep_valid, raw_folder
from winnow.data.stage.violations import Violation, find_violations, type_columns
from winnow.orchestrators.dvc import fetch
from winnow.orchestrators.ingest import ingested_version
from winnow.orchestrators.report import write_html


@dataclass(frozen=True)
class Validation:
    """What was found in the rows of an experiment.

    Attributes:
        source: where the rows are, for display.
        rows: how many.
        columns: how many.
        schema: the schema file that they were checked against; None without one.
        violations: the rules that rows violate, in the schema's order.
        summary: what the rows hold, where a page was asked for.
    """

    source: str
    rows: int
    columns: int
    schema: str | None
    violations: tuple[Violation, ...]
    summary: Summary | None = None

    @property
    def is_valid(self) -> bool:
        """Whether no rule is violated."""
        return not self.violations


def validate(experiment: Experiment, home: Path, schema: Path | None, html: Path | None) -> Validation:
    """Check the rows of an experiment. See `winnow.api.validate`."""
    given = _schema_file(experiment, schema)
    if given is None and html is None:
        raise InputError(
            "data.schema",
            expected="a schema file to check the rows against",
            found="none",
            remedy=f"Write a first one from the data: `{next_command('validate', infer=True)}`.",
        )
    rules = TableSchema(()) if given is None else read_schema(given)
    experiment = _with_dvc(experiment, home)
    raw = _ingested(experiment, home)
    with open_rows(experiment.data, raw) as connection:
        violations = find_violations(connection, rules, _missing(experiment.data))
        summary = None if html is None else _summary(connection, rules, experiment.data)
        rows, *_ = connection.execute("SELECT count(*) FROM typed").fetchall()[0]
        columns = len(connection.execute("DESCRIBE typed").fetchall()) - 1
    if raw and given is not None and not violations:
        keep_valid(raw[0].parent, digest_of_schema(rules, _missing(experiment.data)))
    source = str(raw[0].parent) if raw else experiment.data.shown_source
    if html is not None and summary is not None:
        from winnow.report.data_page import render_data_page

        write_html(render_data_page(f"{experiment.name}: data", summary, violations, given is not None), html)
    return Validation(source, rows, columns, None if given is None else str(given), violations, summary)


def is_validated(experiment: Experiment, home: Path) -> bool:
    """Whether the raw data in use were found to fit `data.schema` as it is now."""
    found = current_version(raw_folder(home, experiment.name), Ingested)
    schema = _schema_file(experiment, None)
    if experiment.data.raw is None or found is None or schema is None:
        return False
    return is_known_valid(found[0], digest_of_schema(read_schema(schema), _missing(experiment.data)))


def infer(experiment: Experiment, home: Path, schema: Path | None, *, is_forced: bool) -> Path:
    """Write a first schema from the rows of an experiment. See `winnow.api.infer_schema`."""
    path = _schema_file(experiment, schema) or Path("schemas") / f"{experiment.name}.yaml"
    if path.exists() and not is_forced:
        raise InputError(
            str(path),
            expected="a file that does not exist yet",
            found="a schema",
            remedy=f"Name another one ({next_flag('schema')}), or overwrite it ({next_flag('force', True)}).",
        )
    experiment = _with_dvc(experiment, home)
    raw = _ingested(experiment, home)
    with open_rows(experiment.data, raw) as connection:
        found = infer_schema(connection, _missing(experiment.data))
    source = str(raw[0].parent) if raw else experiment.data.shown_source
    comment = f"Inferred from {source}: what its rows are, not what rows must be. Correct it, above all the ranges."
    try:
        replace_text(path, schema_text(found, comment))
    except OSError as error:
        remedy = f"Name another one ({next_flag('schema')})."
        raise InputError(str(path), expected="a file to write", found=f"'{error.strerror}'", remedy=remedy) from error
    return path


def _schema_file(experiment: Experiment, given: Path | None) -> Path | None:
    named = experiment.data.schema_file
    return given if given is not None else None if named is None else Path(named).expanduser()


def _summary(connection: duckdb.DuckDBPyConnection, rules: TableSchema, data: DataConfig) -> Summary:
    """What the rows hold; columns that the schema does not know have the types that their texts have."""
    declared = {each.name for each in rules.columns}
    inferred = [each for each in infer_schema(connection, _missing(data)).columns if each.name not in declared]
    columns = (*rules.columns, *(ColumnSchema(each.name, each.dtype) for each in inferred))
    type_columns(connection, TableSchema(columns), _missing(data))
    dropped = {*data.drop, *(name for name, kind in data.columns.items() if kind == "drop")}
    return summarize(connection, data.target, dropped)


def _with_dvc(experiment: Experiment, home: Path) -> Experiment:
    """The experiment with the files of a source that DVC keeps, where its rows are checked themselves."""
    data = experiment.data
    if data.raw is not None or not data.sources[0].startswith(DVC):
        return experiment
    found = fetch(data.sources[0], data.rev, home, "data.source")
    return experiment.model_copy(update={"data": data.moved_to(str(found.path))})


def _ingested(experiment: Experiment, home: Path) -> Sequence[Path]:
    """The Parquet files that `winnow ingest` wrote of `data.raw`, in the order of their rows; none without raw data."""
    if experiment.data.raw is None:
        return ()
    folder, version = ingested_version(experiment, home)
    return [folder / part.file for part in version.parts]


def _missing(data: DataConfig) -> tuple[str, ...]:
    """Texts that stand for a missing value besides the usual ones."""
    return data.read.missing if data.raw is None else data.raw.read.missing

"""Copy raw data to the home as Parquet: a new version where they have changed, and only what is new of them.

A version is written beside the current one and becomes current in one step, so that a broken transfer changes nothing.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from winnow.config.addresses import without_password
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment, RawConfig
from winnow.config.functions import DVC
from winnow.config.next_command import next_command
from winnow.data.sql import is_database, query_parts
from winnow.data.stage.parts import all_rows_are_there, give_one_schema, link_part, read_tables, write_parts
from winnow.data.stage.raw_files import read_batches
from winnow.data.stage.row_digest import RowDigest, digest_of_rows, read_ahead
from winnow.data.stage.schema import read_schema
from winnow.data.stage.versions import (
    Ingested,
    RawColumn,
    RawPart,
    Users,
    current_version,
    describe,
    drafting,
    no_users,
    publish,
    raw_folder,
)
from winnow.data.table_files import TableFile, list_files, local_files
from winnow.data.tables import with_environment
from winnow.data.urls import download, mark_of
from winnow.orchestrators.dvc import fetch
from winnow.tracking.run_context import run_context, shown_context

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Ingestion:
    """What `ingest` has done, or would do.

    Attributes:
        state: "new": there is a new version; "unchanged": the rows are those of the current one; "planned": a dry run.
        read: the files, URLs or database that were read, in the order of their rows.
        kept: how many sources were not read again, since they are unchanged.
        path: the folder of the current version; None before the first one.
        ingested: that version; None before the first one.
        notes: which versions are not removed for newer ones, since something uses them.
    """

    state: Literal["new", "unchanged", "planned"]
    read: tuple[str, ...]
    kept: int
    path: Path | None
    ingested: Ingested | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One source of a version: its rows are read, unless the current version has them as parts already."""

    source: str
    mark: str | None
    kept: tuple[RawPart, ...] = ()
    file: TableFile | None = None


def ingest(
    experiment: Experiment,
    home: Path,
    environment: Mapping[str, str] = os.environ,
    *,
    dry_run: bool = False,
    users: Users = no_users,
) -> Ingestion:
    """Copy the raw data of an experiment to `HOME/data/NAME/raw`; change nothing where they are those of before.

    Raises:
        InputError: no section `data.raw`; or sources that are missing, unreachable, unreadable, empty, or of different
            columns.
    """
    raw = experiment.data.raw
    if raw is None:
        remedy = "Say where the raw data are: `data: {raw: {source: PATH}}`."
        raise InputError("data.raw", expected="a section `raw`", found="none", remedy=remedy)
    folder, dtypes = raw_folder(home, experiment.name), _dtypes(experiment)
    with _named_raw():
        sources = [with_environment(source, environment) for source in raw.sources]
        sources, lineage = _with_dvc(sources, experiment.data.rev, home)
        files = None if _is_database(raw, sources) else _files(raw, sources)
        if dry_run:
            return _planned(raw, files, current_version(folder, Ingested))
        with drafting(folder) as draft:
            made_by = shown_context(run_context(environment))
            return _noted(_ingested(raw, sources[0], files, folder, draft, users), dtypes, lineage, made_by)


def _dtypes(experiment: Experiment) -> dict[str, str]:
    """The types of the schema file by column; none where it does not exist yet. Raises InputError for a wrong one."""
    named = experiment.data.schema_file
    if named is None or not Path(named).expanduser().is_file():
        return {}
    return {each.name: each.dtype for each in read_schema(Path(named).expanduser()).columns if each.dtype is not None}


def _noted(done: Ingestion, dtypes: Mapping[str, str], lineage: Mapping[str, str], made_by: str) -> Ingestion:
    """The same with the schema's types, the lineage and who made a new one in the description of the version."""
    assert done.ingested is not None and done.path is not None, "there is a version"
    known = {column.name: dtypes[column.name] for column in done.ingested.columns if column.name in dtypes}
    made_by = made_by if done.state == "new" else done.ingested.made_by
    found = replace(done.ingested, dtypes=known, lineage=lineage, made_by=made_by)
    if found != done.ingested:
        describe(done.path, found)
    return replace(done, ingested=found)


def ingested_version(experiment: Experiment, home: Path) -> tuple[Path, Ingested]:
    """The folder and description of the raw data in use. Raises InputError where nothing was ingested."""
    found = current_version(raw_folder(home, experiment.name), Ingested)
    if found is None:
        raise InputError(
            "data.raw",
            expected="raw data that have been copied to the home",
            found="none",
            remedy=f"Copy them first: `{next_command('ingest')}`.",
        )
    return found


def plan(raw: RawConfig, files: Sequence[tuple[TableFile, str | None]] | None, before: Ingested | None) -> list[Step]:
    """Which sources to read, and which parts of the version before to keep.

    `files`: with their marks; None: a database.
    """
    known = before.parts if before is not None and before.raw == raw.model_dump(mode="json") else ()
    if files is None:
        source = ", ".join(raw.sources)
        first = [Step(source, None, known)] if known and raw.by is not None else []
        return [*first, Step(source, None)]
    steps = []
    for file, mark in files:
        source = without_password(file.path)
        held = tuple(part for part in known if mark is not None and (part.source, part.mark) == (source, mark))
        steps.append(Step(source, mark, held, file))
    return steps


def _planned(raw: RawConfig, files: Any, current: tuple[Path, Ingested] | None) -> Ingestion:
    path, before = current if current is not None else (None, None)
    steps = plan(raw, files, before)
    read = tuple(step.source for step in steps if not step.kept)
    return Ingestion("planned", read, len(steps) - len(read), path, before)


def _with_dvc(sources: list[str], rev: str | None, home: Path) -> tuple[list[str], Mapping[str, str]]:
    """The sources with the files of those that DVC keeps, and tags that say which versions these are."""
    if not any(source.startswith(DVC) for source in sources):
        return sources, {}
    kept = {source: fetch(source, rev, home, "data.source") for source in sources if source.startswith(DVC)}
    tags = [version.lineage for version in kept.values()]
    lineage = {key: ", ".join(dict.fromkeys(each[key] for each in tags)) for key in tags[0]}
    return [str(kept[source].path) if source in kept else source for source in sources], lineage


def _ingested(raw: RawConfig, address: str, files: Any, folder: Path, draft: Path, users: Users) -> Ingestion:
    """Write a version to the draft, and make it the current one if its rows are others."""
    current = current_version(folder, Ingested)
    if current is not None and not all_rows_are_there(*current):
        current = None
    before = None if current is None else current[1]
    steps = plan(raw, files, before)
    held = tuple(part for step in steps for part in step.kept)
    if current is not None and all(step.kept for step in steps) and current[1].parts == held:
        return Ingestion("unchanged", (), len(steps), *current)
    found = _written(raw, address, steps, None if current is None else current[0], draft)
    read = tuple(step.source for step in steps if not step.kept)
    kept = len(steps) - len(read)
    if current is not None and before is not None and before.digest == found.digest:
        if [(part.file, part.rows) for part in before.parts] == [(part.file, part.rows) for part in found.parts]:
            found = replace(found, made_by=before.made_by)
            describe(current[0], found)  # sources that were touched are not read again
            return Ingestion("unchanged", read, kept, current[0], found)
        return Ingestion("unchanged", read, kept, *current)
    path, notes = publish(draft, found, users)
    return Ingestion("new", read, kept, path, found, notes)


def _written(raw: RawConfig, address: str, steps: Sequence[Step], current: Path | None, draft: Path) -> Ingested:
    """Write the parts of all sources to the draft, and describe them. `current`: the folder of the parts to keep."""
    parts: list[RawPart] = []
    digest = RowDigest()
    rows = _rows_by_file([step for step in steps if not step.kept], raw, draft, digest)
    for step in steps:
        if step.kept and current is not None:
            parts += _kept(step, current, draft, len(parts))
            continue
        if step.file is None:
            after = _last_value(draft, parts, raw.by) if raw.by is not None else None
            batches = query_parts(address, raw.query, raw.by, after)
        else:
            batches = next(rows)
        made = write_parts(batches, draft, len(parts), step.source)
        parts += [RawPart(step.source, step.mark, name, count) for name, count in made]
    return _described(raw, parts, draft, digest)


def _rows_by_file(
    steps: Sequence[Step], raw: RawConfig, draft: Path, digest: RowDigest
) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of each file in turn. Threads parse and digest those that come next, also of the next file."""

    def hashed() -> Iterator[tuple[str, pa.RecordBatch]]:
        parsed = ((step.source, batch) for step in steps for batch in _batches_of_file(step, raw, draft))
        for source, batch in read_ahead(parsed):
            digest.add(batch)
            yield source, batch

    for _, rows in itertools.groupby(read_ahead(hashed()), itemgetter(0)):
        yield (batch for _, batch in rows)


def _batches_of_file(step: Step, raw: RawConfig, draft: Path) -> Iterator[pa.RecordBatch]:
    file = step.file
    assert file is not None, "databases are read elsewhere"
    if "://" not in file.path:
        yield from read_batches(file, raw.read, step.source)
        return
    with tempfile.TemporaryDirectory(dir=draft) as folder:
        # The end of the name says how it is compressed.
        local = replace(file, path=str(Path(folder) / file.name))
        download(file.path, Path(local.path))
        yield from read_batches(local, raw.read, step.source)


def _kept(step: Step, version: Path, draft: Path, first: int) -> list[RawPart]:
    kept = [replace(part, file=f"part-{first + index:05d}.parquet") for index, part in enumerate(step.kept)]
    for old, new in zip(step.kept, kept, strict=True):
        link_part(version / old.file, draft / new.file)
    return kept


def _described(raw: RawConfig, parts: Sequence[RawPart], draft: Path, digest: RowDigest) -> Ingested:
    """Describe the parts. `digest`: of the rows that were read, perhaps not all or of other types."""
    schema = give_one_schema([(draft / part.file, part.source) for part in parts])
    rows = sum(part.rows for part in parts)
    if rows == digest.rows and digest.schemas == [schema]:
        sha256 = digest.hexdigest(schema)
    else:
        tables = (table for part in parts for table in read_tables(draft / part.file))
        sha256, _ = digest_of_rows(schema, (batch for table in tables for batch in table.to_batches()))
    if not rows:
        raise InputError("data.source", expected="rows", found="none", remedy="Correct the source or the query.")
    columns = tuple(RawColumn(field.name, str(field.type)) for field in schema)
    watermark = None if raw.by is None else str(_last_value(draft, parts, raw.by))
    return Ingested(sha256, rows, columns, tuple(parts), raw.model_dump(mode="json"), watermark)


def _last_value(draft: Path, parts: Sequence[RawPart], column: str) -> Any:
    """The last row's value, which is the greatest one in the database's own order; None without rows."""
    full = [part for part in parts if part.rows]
    if not full:
        return None
    import pyarrow.parquet as pq

    with pq.ParquetFile(draft / full[-1].file) as file:
        return file.read_row_group(file.num_row_groups - 1, columns=[column])[0][-1].as_py()


def _is_database(raw: RawConfig, sources: Sequence[str]) -> bool:
    """Whether the raw data are a query's answer.

    Raises:
        InputError: several sources of which one is a database, or a key that the source has no use for.
    """
    databases = [source for source in sources if is_database(source)]
    if len(sources) == 1 and (databases or (raw.query is not None and "://" in sources[0])):
        fields = type(raw.read).model_fields
        given = next((name for name in fields if getattr(raw.read, name) != fields[name].default), None)
        if given is not None:
            raise _useless(f"data.read.{given}", "files", "a database")
        return True
    if databases:
        expected, remedy = "one database, or files", "Read each in an experiment of its own."
        raise InputError("data.source", expected=expected, found=f"{len(sources)} sources", remedy=remedy)
    given = next((name for name in ("query", "by") if getattr(raw, name) is not None), None)
    if given is not None:
        raise _useless(f"data.{given}", "a database", "files")
    return False


def _useless(place: str, expected: str, found: str) -> InputError:
    return InputError(place, expected=f"this key for {expected} alone", found=f"it for {found}", remedy="Remove it.")


def _files(raw: RawConfig, sources: Sequence[str]) -> list[tuple[TableFile, str | None]]:
    """The files that sources name, with their marks: of local files their size and time of change."""
    for source in sources:
        is_file = "://" not in source and not Path(source).expanduser().is_dir() and not glob.has_magic(source)
        if is_file and raw.read.format == "auto" and TableFile(source).format is None:
            expected = "a .csv, .parquet or .arrow file, a folder, pattern or URL of such files, or a database"
            remedy = "Convert it, or say what is in it with `data.read: {format: csv}`."
            raise InputError("data.source", expected=expected, found=f"'{source}'", remedy=remedy)
    local_files(sources)
    files = list_files(sources, raw.read.format)
    paths = [file.path for file in files]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        remedy = "Name it once."
        raise InputError("data.source", expected="each file once", found=f"{twice} twice", remedy=remedy)
    return [(file, _mark(file.path)) for file in files]


def _mark(path: str) -> str | None:
    if "://" in path:
        return mark_of(path)
    stat = Path(path).expanduser().stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


@contextlib.contextmanager
def _named_raw() -> Iterator[None]:
    """Name keys of `data.raw`, where readers that `data.source` shares name its own."""
    try:
        yield
    except InputError as error:
        error.remedy = error.remedy.replace("`data.", "`data.raw.")
        error.move_to(re.sub(r"^data\.(?!raw|rev)", "data.raw.", error.place))
        raise

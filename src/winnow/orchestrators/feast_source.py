"""Join the features of a Feast service to rows with a target, as one Parquet file that trials read.

The join runs each time, in Feast's own environment, and its file is named by its rows: what Feast reads may be a
warehouse, of which winnow cannot see whether it has changed. The same rows give the same file.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.atomic_write import replacing
from winnow.config.errors import InputError, WinnowError
from winnow.config.experiment import DataConfig, Experiment
from winnow.config.functions import FEAST
from winnow.config.settings import Settings
from winnow.config.tools import tool_python
from winnow.data.labels import typed_labels
from winnow.data.row_keys import convert_time
from winnow.data.stage import feast_join
from winnow.data.stage.row_digest import digest_of_rows
from winnow.data.stage.versions import KEPT, Users, remove_unused
from winnow.data.table_files import named_by
from winnow.data.tables import read_table
from winnow.orchestrators.data_users import users_of
from winnow.tracking.records import LINEAGE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TIME = feast_join.TIME


@dataclass(frozen=True, eq=False)
class Entities:
    """The rows that features are joined to.

    Attributes:
        frame: all columns, in the types that they have for a model.
        plain: the same columns as Feast gets them: text of CSV files stays text, and times are UTC without zone.
    """

    frame: pd.DataFrame
    plain: pd.DataFrame


def resolve_feast(experiment: Experiment, settings: Settings) -> tuple[str, Mapping[str, str]]:
    """The file with the joined rows in `HOME/data/NAME/feast`, and the service and its definition as lineage.

    It has the features of the service and the columns of `data.entities`. Of keys and `event_timestamp` it has only
    those that another key of `data` names, such as `time` or `group`, so that they are no features by chance.

    Raises:
        InputError: no repository, service or entities, rows that cannot be joined, or Feast is not installed.
    """
    data = experiment.data
    repository, service = address(data)
    entities = read_entities(data)
    python = tool_python("feast", settings.home, "data.source")
    with tempfile.TemporaryDirectory(prefix="winnow-feast-") as name:
        answer, joined = _joined(python, repository, service, entities, Path(name))
    table = _table(data, entities, joined, answer)
    digest, _ = digest_of_rows(table.schema, table.combine_chunks().to_batches())
    file = settings.home / "data" / experiment.name / "feast" / f"{digest[:12]}.parquet"
    _keep(file, table, lambda versions: users_of(versions, experiment.name, settings.home))
    found = {
        "feast": f"{repository.name}#{service}",
        "feast_definition": answer["definition"],
        "feast_keys": json.dumps(answer["kinds"], sort_keys=True),
        "version": digest[:12],
    }
    return str(file), {f"{LINEAGE}{name}": value for name, value in found.items()}


def address(data: DataConfig) -> tuple[Path, str]:
    """The folder of the feature repository, and the name of the service.

    Raises InputError if the source has another form, or there is no repository.
    """
    folder, _, service = data.shown_source.removeprefix(FEAST).rpartition("#")
    if not folder or not service:
        raise InputError(
            "data.source",
            expected="`feast:REPOSITORY#SERVICE`",
            found=f"'{data.shown_source}'",
            remedy="Name the folder of the feature repository, and one of its feature services.",
        )
    path = Path(folder).expanduser().absolute()
    if not (path / "feature_store.yaml").is_file():
        found = "no such folder" if not path.is_dir() else "no feature_store.yaml in it"
        remedy = "Correct the path, which starts at the working directory."
        raise InputError("data.source", expected=f"a feature repository at {path}", found=found, remedy=remedy)
    return path, service


def read_entities(data: DataConfig) -> Entities:
    """The rows of `data.entities`. Raises InputError if there are none, or one of them has no time."""
    if data.entities is None:
        expected = "a file with entity keys, `event_timestamp` and the target"
        remedy = "Name it: `data: {entities: FILE}`."
        raise InputError("data.entities", expected=expected, found="none", remedy=remedy)
    config = data.model_copy(update={"source": data.entities})
    with named_by("data.entities"):
        codes = [name for name, kind in data.columns.items() if kind == "category"]
        table = read_table(config, [*codes, *(name for name in (data.target, data.group) if name is not None)])
        texts = table if table.has_types else read_table(config, list(table.frame.columns))
    for name in (TIME, data.target):
        if name is not None and name not in table.frame:
            expected, found = f"a column '{name}' in {data.entities}", ", ".join(table.frame.columns)
            remedy = "Add it." if name == TIME else "Add it, or correct `data.target`."
            raise InputError("data.entities", expected=expected, found=f"columns {found}", remedy=remedy)
    frame = table.frame
    if not table.has_types and data.target is not None:
        labels = typed_labels(frame[data.target].to_numpy(dtype=object), data.task, "data.target", table.name)
        frame = frame.assign(**{data.target: labels})
    try:
        times = convert_time(texts.frame[TIME], table.name)
    except InputError as error:
        error.move_to("data.entities")
        raise
    if times.dtype.kind != "M":
        expected = f"dates in ISO 8601 (2026-11-21T09:30) in column '{TIME}' of {data.entities}"
        raise InputError("data.entities", expected=expected, found="numbers", remedy="Convert them.")
    return Entities(frame, texts.frame.assign(**{TIME: times}))


def _joined(
    python: Path, repository: Path, service: str, entities: Entities, folder: Path
) -> tuple[Mapping[str, Any], pa.Table]:
    """What the script answers, and the keys and features of every row."""
    import pyarrow.parquet as pq

    rows = folder / "entities.parquet"
    pq.write_table(_as_table(entities.plain), rows)
    answer = asked_feast(python, folder, repository, service, rows)
    return answer, pq.read_table(folder / "features.parquet")


def asked_feast(python: Path, folder: Path, *arguments: Path | str) -> Mapping[str, Any]:
    """What `feast_join.py` answers.

    Raises InputError if it refuses the repository, the service or the rows; WinnowError if it was killed, or its
    environment is damaged.
    """
    command = [str(each) for each in (python, Path(feast_join.__file__), folder, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = folder / "answer.json"
    if not answer.is_file():
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise WinnowError(f"Feast's environment {python.parent.parent} failed: {said[0]}")
    found: Mapping[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "refused" in found:
        refused = dict(found["refused"])
        raise InputError(refused.pop("place"), **refused)
    return found


def _table(data: DataConfig, entities: Entities, joined: pa.Table, answer: Mapping[str, Any]) -> pa.Table:
    """The columns that trials read. Raises InputError if a feature has the name of another column."""
    named = {data.time, data.group, data.weight, *data.drop, *data.columns}
    left_out = {name for name in (TIME, *answer["keys"]) if name not in named}
    own = [name for name in entities.frame.columns if name not in left_out]
    twice = next((name for name in answer["features"] if name in entities.frame.columns), None)
    if twice is not None:
        expected = f"features of other names than the columns of {data.entities}"
        remedy = "Remove the column, or leave the feature out of the service."
        raise InputError("data.entities", expected=expected, found=f"'{twice}' in both", remedy=remedy)
    table = _as_table(entities.frame[own])
    for name in own:
        if name == TIME or name in answer["keys"]:
            column = _as_table(entities.plain[[TIME]])[TIME] if name == TIME else joined[name]
            table = table.set_column(own.index(name), name, column)
    for name in answer["features"]:
        table = table.append_column(name, joined[name])
    return table


def _as_table(frame: pd.DataFrame) -> pa.Table:
    """A frame in types that do not depend on how pandas keeps text."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    fields = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields))


def _keep(file: Path, table: pa.Table, users: Users) -> None:
    """Write the file unless it is there, and remove all but the newest ones and those that are used."""
    import pyarrow.parquet as pq

    if file.is_file():
        file.touch()
        return
    with replacing(file) as draft:
        pq.write_table(table, draft)
    newest_last = sorted(file.parent.glob("*.parquet"), key=lambda each: each.stat().st_mtime_ns)
    remove_unused(newest_last[:-KEPT], users)


def feature_server(data: DataConfig, home: Path, host: str, port: int) -> list[str]:
    """The command that serves the online store, after a check that `feast apply` has registered the service.

    Raises InputError if the source is none of Feast, is not applied, or Feast is not installed.
    """
    repository, service = address(data)
    python = tool_python("feast", home, "feature-server")
    with tempfile.TemporaryDirectory(prefix="winnow-feast-") as folder:
        asked_feast(python, Path(folder), repository, service)
    feast = [str(python.with_name("feast")), "--chdir", str(repository)]
    return [*feast, "serve", "--host", host, "--port", str(port), "--no-access-log"]

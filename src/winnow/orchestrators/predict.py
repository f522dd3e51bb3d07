"""Score the rows of a file with a registered version, in batches, with the answers that its server gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from winnow.config.atomic_write import replacing
from winnow.config.errors import InputError
from winnow.config.experiment import ReadConfig
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_flag
from winnow.config.settings import Settings
from winnow.data.array_files import is_array_file
from winnow.data.batches import AT_ONCE, batches_of
from winnow.data.labelled import inputs_of
from winnow.data.table_files import local_files, named_by
from winnow.orchestrators.evidence import LoadedVersion, experiment_of
from winnow.routing import Versioned
from winnow.serving.codec import labels

if TYPE_CHECKING:
    import pandas as pd

Write = Callable[["pd.DataFrame"], None]


@dataclass(frozen=True)
class Scored(Versioned):
    """What was written.

    Attributes:
        name: the model's.
        version: the version's number.
        output: the file.
        rows: how many.
        seconds: that it took.
        semantic: the semantic version; empty where it is not known.
    """

    name: str
    version: str
    output: Path
    rows: int
    seconds: float
    semantic: str = ""


def predict_table(
    source: str,
    output: Path,
    version: LoadedVersion,
    settings: Settings,
    *,
    carry: Sequence[str] = (),
    is_forced: bool = False,
    at_once: int = AT_ONCE,
) -> Scored:
    """Write a version's predictions for the rows of a file. See `winnow.api.predict_table`.

    Raises InputError if the rows do not fit, or the file may not be written. An existing output is then unchanged.
    """
    began = time.perf_counter()
    _check_output(source, output, is_forced=is_forced)
    _check_carried(carry, version)
    rows = 0
    with replacing(output) as draft, WRITERS[output.suffix](draft) as write:
        for frame in _frames(source, version, settings, carry, at_once):
            lacking = next((name for name in carry if name not in frame.columns), None)
            if lacking is not None:
                raise InputError(
                    next_flag("carry"),
                    expected=f"columns of {source}",
                    found=f"'{lacking}'",
                    remedy=did_you_mean(lacking, frame.columns) or "Name others.",
                )
            write(_answers(frame, carry, version, source, rows))
            rows += len(frame)
        if not rows:
            raise InputError(source, expected="rows to score", found="none", remedy="Name another file.")
    seconds = time.perf_counter() - began
    registered = version.registered
    return Scored(registered.name, version.number, output, rows, seconds, registered.semantic)


def _frames(
    source: str, version: LoadedVersion, settings: Settings, carry: Sequence[str], at_once: int
) -> Iterator[Any]:
    """The rows as frames with the columns of the file; of tensors with the input alone, as a column `row`."""
    import pandas as pd

    manifest = version.manifest
    if manifest.table is None:
        if not is_array_file(source):
            raise InputError(
                next_flag("input"),
                expected="an .npy file, or an .npz with X, of rows as the model takes them",
                found=f"'{source}'",
                remedy="Write the rows as such a file.",
            )
        try:
            loaded = np.load(source, mmap_mode="r", allow_pickle=False)
            array = loaded["X"] if source.endswith(".npz") else loaded
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                next_flag("input"), expected="an array of numbers", found=f"'{error}'", remedy="Write it with NumPy."
            ) from error
        for start in range(0, len(array), at_once):
            yield pd.DataFrame({ROW: list(array[start : start + at_once])})
        return
    experiment = experiment_of(version, settings)
    read = ReadConfig() if experiment is None else experiment.data.read
    texts = [each.name for each in manifest.table if each.kind == "category"]
    # What is only carried along stays as it is written in a CSV file, so that it is of one type in all batches.
    carried = [name for name in carry if name not in {each.name for each in manifest.table}]
    with named_by(next_flag("input")):
        yield from batches_of(source, carried, texts, read, at_once)


ROW = "row"


def _answers(frame: Any, carry: Sequence[str], version: LoadedVersion, source: str, first: int) -> Any:
    """The kept columns of a batch, and the answers to its rows. `first`: the number of rows before it."""
    manifest = version.manifest
    rows = np.stack(frame[ROW]) if manifest.table is None else frame
    outputs = version.outputs(inputs_of(rows, manifest, source, first), source)
    kept = frame[list(carry)].copy()
    if manifest.class_names is None:
        return kept.assign(**{name: outputs[:, index] for index, name in enumerate(manifest.target_names)})
    named = {f"probability.{name}": outputs[:, index] for index, name in enumerate(manifest.class_names)}
    return kept.assign(prediction=labels(outputs, version.predictor.signature), **named)


def _check_carried(carry: Sequence[str], version: LoadedVersion) -> None:
    names = version.manifest.class_names
    own = version.manifest.target_names
    if names is not None:
        own = ("prediction", *(f"probability.{name}" for name in names))
    taken = next((name for name in carry if name in own), None)
    if taken is not None:
        raise InputError(
            next_flag("carry"),
            expected="columns of other names than the answers'",
            found=f"'{taken}'",
            remedy="Rename it in the input, or leave it out.",
        )


def _check_output(source: str, output: Path, *, is_forced: bool) -> None:
    if output.suffix not in WRITERS:
        raise InputError(
            next_flag("output"),
            expected=f"a file that ends in {', '.join(WRITERS)}",
            found=f"'{output}'",
            remedy="Name one.",
        )
    with named_by(next_flag("input")):
        own = [] if is_array_file(source) else local_files([source])
    if output.resolve() in [each.resolve() for each in own]:
        raise InputError(
            next_flag("output"), expected="another file than the input", found=f"'{output}'", remedy="Name another."
        )
    if output.exists() and not is_forced:
        raise InputError(
            next_flag("output"),
            expected="a file that does not exist yet",
            found=f"'{output}'",
            remedy=f"Name another, or replace it with {next_flag('force', value=True)}.",
        )


@contextmanager
def _parquet(draft: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened: list[Any] = []

    def write(frame: pd.DataFrame) -> None:
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False, schema=opened[0].schema if opened else None)
        except pa.ArrowException as error:
            raise InputError(
                next_flag("carry"),
                expected="columns of one type in the whole input",
                found=f"'{error}'",
                remedy="Write CSV or JSON lines, or leave the column out.",
            ) from error
        if not opened:
            opened.append(pq.ParquetWriter(draft, table.schema))
        opened[0].write_table(table)

    try:
        yield write
    finally:
        for each in opened:
            each.close()


@contextmanager
def _csv(draft: Path) -> Iterator[Write]:
    with draft.open("w", encoding="utf-8", newline="") as stream:

        def write(frame: pd.DataFrame) -> None:
            # As float64 a number has the digits that JSON gives it.
            wide = {name: np.float64 for name in frame.columns if frame[name].dtype == np.float32}
            frame.astype(wide).to_csv(stream, index=False, header=stream.tell() == 0)

        yield write


@contextmanager
def _lines(draft: Path) -> Iterator[Write]:
    encoder = msgspec.json.Encoder(enc_hook=str)
    with draft.open("wb") as stream:

        def write(frame: pd.DataFrame) -> None:
            stream.write(encoder.encode_lines(frame.astype(object).where(frame.notna(), None).to_dict("records")))

        yield write


WRITERS: Mapping[str, Callable[[Path], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _lines,
}
